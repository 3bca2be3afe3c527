"""The stages of a run, the files they leave, and going on after an interruption."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from safetensors.torch import load_file
from torch import Tensor

from lightning_distill.build import build
from lightning_distill.callbacks import BestAndLast
from lightning_distill.distillers import Distiller
from lightning_distill.pipeline import run
from lightning_distill.pipeline.stage import Stage
from lightning_distill.pipeline.teacher import cache_file
from lightning_distill.weights import read_metadata
from tests.configs import TINY, composed, files, planned, tiny_run

QUICK = ("baseline=false", "export=null")
ROLES = ("teacher", "baseline", "student")
# What a run leaves; documented in docs and README.
FILES = sorted(
    [
        "config.yaml",
        "metrics.json",
        "student.pt2",
        *(f"{role}.{suffix}" for role in ROLES for suffix in ("csv", "safetensors")),
        *(f"predictions/{role}.safetensors" for role in ROLES),
        *(f"checkpoints/{role}/{name}.ckpt" for role in ROLES for name in ("best", "last")),
    ]
)
TIMED = ("train_seconds", "epoch_seconds")
MEASURED = {
    "val/accuracy",
    "best_epoch",
    "test/accuracy",
    "test/student_loss",
    "test/ece",
    "parameters",
    "file_bytes",
    "latency_ms",
    *TIMED,
    "epochs",
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with everything."""
    folder = tmp_path_factory.mktemp("finished")
    tiny_run(folder)
    return folder


def metrics(folder: Path) -> dict[str, dict[str, Any]]:
    return json.loads((folder / "metrics.json").read_text())  # type: ignore[no-any-return]


def rows(folder: Path, role: str) -> list[dict[str, str]]:
    with (folder / f"{role}.csv").open() as file:
        return list(csv.DictReader(file))


def checkpoint(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)  # type: ignore[no-any-return]


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# What a run leaves.


def test_run__leaves_exactly_these_files(finished: Path) -> None:
    assert files(finished) == FILES


def test_run__returns_the_students_best(tmp_path: Path) -> None:
    best = tiny_run(tmp_path, *QUICK)
    assert best == metrics(tmp_path)["student"]["val/accuracy"]
    assert best == pytest.approx(max(float(row["val/accuracy"]) for row in rows(tmp_path, "student")), abs=1e-6)


def test_metrics__one_flat_mapping_of_scalars_per_role(finished: Path) -> None:
    found = metrics(finished)
    assert list(found) == [*ROLES, "run"]
    assert all(isinstance(v, (int, float, str, bool)) for role in found.values() for v in role.values())
    assert set(found["teacher"]) == MEASURED
    assert set(found["baseline"]) == set(found["student"]) == MEASURED | {"test/teacher_agreement", "test/teacher_kl"}
    assert set(found["run"]) == {
        *("format_version", "seed", "alpha", "temperature", "version", "test_samples"),
        *("gain", "gain_standard_error", "finished", "command"),
    }
    assert found["run"]["test_samples"] == 100  # two batches of 50
    assert found["run"]["gain"] == found["student"]["test/accuracy"] - found["baseline"]["test/accuracy"]
    assert found["student"]["parameters"] == 1466


def test_csv__one_row_per_epoch(finished: Path) -> None:
    assert [row["epoch"] for row in rows(finished, "student")] == ["0", "1", "2"]
    assert [row["step"] for row in rows(finished, "student")] == ["2", "4", "6"]
    assert float(rows(finished, "student")[0]["lr"]) == pytest.approx(3e-3)
    assert {"train/loss", "train/distillation_loss", "val/accuracy", "val/teacher_agreement"} <= set(
        rows(finished, "student")[0]
    )
    assert "train/distillation_loss" not in rows(finished, "baseline")[0]


@pytest.mark.parametrize("role", ROLES)
def test_weights__are_the_best_epochs(finished: Path, role: str) -> None:
    best = checkpoint(finished / f"checkpoints/{role}/best.ckpt")["state_dict"]
    weights = load_file(finished / f"{role}.safetensors")
    assert weights
    assert same(weights, {name: best[f"student.{name}"] for name in weights})


def test_export__computes_what_the_student_computes(finished: Path) -> None:
    plan = planned(finished, *TINY)
    student = plan.student()
    student.load_state_dict(load_file(finished / "student.safetensors"))
    inputs = torch.rand(5, 1, 8, 8)
    program = torch.export.load(finished / "student.pt2").module()
    torch.testing.assert_close(program(inputs), student.eval()(inputs))


def test_folder__another_run_is_not_overwritten(finished: Path) -> None:
    before = {name: (finished / name).stat().st_mtime_ns for name in FILES}
    with pytest.raises(FileExistsError, match=r"holds another one. Continue that one with resume="):
        tiny_run(finished)
    assert {name: (finished / name).stat().st_mtime_ns for name in FILES} == before


def test_run__without_teacher_trains_the_student_alone(tmp_path: Path) -> None:
    tiny_run(tmp_path, "teacher=null", "export=null")
    assert set(metrics(tmp_path)) == {"student", "run"}
    assert "train/distillation_loss" not in rows(tmp_path, "student")[0]


def test_baseline__starts_from_the_same_weights(tmp_path: Path) -> None:
    plan = planned(tmp_path, *TINY)
    assert plan.teacher is not None
    baseline = Stage("baseline", plan.stage, plan.folder).make(plan.student, None)
    torch.rand(7)
    student = Stage("student", plan.stage, plan.folder).make(plan.student, plan.teacher.model())
    assert same(baseline.student.state_dict(), student.student.state_dict())


def test_baseline__sees_the_same_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[int]] = []
    step = Distiller.training_step

    def spy(self: Distiller, batch: Any, batch_idx: int) -> Any:
        seen.append(batch.sample_ids.tolist())
        return step(self, batch, batch_idx)

    monkeypatch.setattr(Distiller, "training_step", spy)
    tiny_run(tmp_path, "export=null")
    teacher, baseline, student = seen[:6], seen[6:12], seen[12:]
    assert baseline == student
    assert baseline[0] != baseline[2]
    assert teacher != baseline


def test_ema__is_what_is_saved_and_tested(tmp_path: Path) -> None:
    tiny_run(tmp_path, *QUICK, "callbacks=ema", "callbacks.progress_bar=null", "callbacks.ema.decay=0.9")
    best = checkpoint(tmp_path / "checkpoints/student/best.ckpt")
    weights = load_file(tmp_path / "student.safetensors")
    assert same(weights, {name: best["state_dict"][f"student.{name}"] for name in weights})
    assert not torch.equal(weights["fc.weight"], best["current_model_state"]["student.fc.weight"])


# Where the teacher comes from.


def cached(*overrides: str) -> tuple[str, ...]:
    return (*TINY, *QUICK, "teacher_cache=teachers", *overrides)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_teacher__is_trained_once(workplace: Path) -> None:
    run(planned(workplace / "first", *cached()))
    run(planned(workplace / "second", *cached("seed=1", "alpha=0.5")))
    assert len(list((workplace / "teachers").iterdir())) == 1
    assert "teacher.csv" not in files(workplace / "second")
    first, second = metrics(workplace / "first")["teacher"], metrics(workplace / "second")["teacher"]
    assert first | {"latency_ms": 0} == second | {"latency_ms": 0}
    assert (workplace / "first/teacher.safetensors").read_bytes() == (
        workplace / "second/teacher.safetensors"
    ).read_bytes()


def test_teacher__is_trained_anew_when_its_making_changes(workplace: Path) -> None:
    run(planned(workplace / "first", *cached()))
    run(planned(workplace / "second", *cached("teacher.seed=1")))
    assert len(list((workplace / "teachers").iterdir())) == 2
    assert "teacher.csv" in files(workplace / "second")


@pytest.mark.parametrize("damage", ["cut", "text", "other"])
def test_teacher__damaged_in_the_cache_is_replaced(
    workplace: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(planned(workplace / "first", *cached()))
    plan = planned(workplace / "second", *cached())
    assert plan.teacher is not None
    file = cache_file(plan.teacher)
    assert file is not None
    good = file.read_bytes()
    other = (workplace / "first/student.safetensors").read_bytes()
    file.write_bytes({"cut": good[:-100], "text": b"nothing", "other": other}[damage])
    run(plan)
    assert "the kept file is damaged and will be replaced" in capsys.readouterr().out
    assert read_metadata(file)["recipe"]["seed"] == 0
    assert same(load_file(file), load_file(workplace / "second/teacher.safetensors"))


def test_teacher__cache_that_cannot_be_written_is_told_before(workplace: Path) -> None:
    (workplace / "teachers").write_text("a file")
    with pytest.raises(OSError, match="teachers"):
        run(planned(workplace / "run", *cached()))
    assert not (workplace / "run").exists()


@pytest.mark.parametrize("form", ["teacher.safetensors", "checkpoints/teacher/best.ckpt", "state.pt", "wrapped.pth"])
def test_teacher__from_a_checkpoint(finished: Path, tmp_path: Path, form: str) -> None:
    weights = load_file(finished / "teacher.safetensors")
    torch.save(weights, tmp_path / "state.pt")
    torch.save({"model": {f"module.{name}": w for name, w in weights.items()}, "epoch": 3}, tmp_path / "wrapped.pth")
    source = finished / form if (finished / form).exists() else tmp_path / form
    tiny_run(tmp_path / "run", *QUICK, f"teacher.checkpoint={source}")
    assert same(load_file(tmp_path / "run/teacher.safetensors"), weights)
    before, after = metrics(finished)["teacher"], metrics(tmp_path / "run")["teacher"]
    assert after["test/accuracy"] == before["test/accuracy"]
    assert "teacher.csv" not in files(tmp_path / "run")


def test_teacher__checkpoint_of_another_network(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="to fit the teacher, a ConvNet") as raised:
        tiny_run(tmp_path, f"teacher.checkpoint={finished / 'student.safetensors'}")
    assert "missing (layer3.0.weight, " in str(raised.value)
    assert "have another shape (layer1.0.weight: [8, 1, 3, 3] in the file, [32, 1, 3, 3] in the network" in str(
        raised.value
    )
    assert files(tmp_path) == []


def test_teacher__used_as_built(tmp_path: Path) -> None:
    tiny_run(tmp_path, *QUICK, "teacher.train=null")
    assert set(metrics(tmp_path)["teacher"]) == MEASURED - {"val/accuracy", "best_epoch", "epochs", *TIMED}


# Going on.


class Interrupt(pl.Callback):
    """Ctrl-C at a given moment."""

    def __init__(self, stage: str, epoch: int, moment: str) -> None:
        self.stage, self.epoch, self.moment = stage, epoch, moment

    def _maybe(self, trainer: pl.Trainer, moment: str) -> None:
        keeper = next(c for c in trainer.callbacks if isinstance(c, BestAndLast))  # type: ignore[attr-defined]
        if (keeper.folder.name, trainer.current_epoch, moment) == (self.stage, self.epoch, self.moment):
            raise KeyboardInterrupt

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._maybe(trainer, "start")

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        self._maybe(trainer, "batch")

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking:
            self._maybe(trainer, "validation")


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> list[Interrupt]:
    """Callbacks in here are added to every Trainer."""
    chosen: list[Interrupt] = []
    make = Stage._make_trainer
    monkeypatch.setattr(Stage, "_make_trainer", lambda self, callbacks: make(self, [*callbacks, *chosen]))
    return chosen


def resumed(folder: Path) -> float | None:
    return run(build(composed(f"resume={folder}"), [f"resume={folder}"]))


def contents(folder: Path) -> dict[str, Any]:
    """All that a run computed, without times and paths."""
    numbers = metrics(folder)
    roles = [role for role in ROLES if role in numbers]
    found: dict[str, Any] = {role: [row | {"seconds": ""} for row in rows(folder, role)] for role in roles}
    found |= {f"{role} weights": (folder / f"{role}.safetensors").read_bytes() for role in roles}
    for role in roles:
        for name in ("latency_ms", *TIMED):
            numbers[role].pop(name, None)
    last = checkpoint(folder / "checkpoints/student/last.ckpt")
    found["last"] = [last["epoch"], last["global_step"], repr(last["lr_schedulers"])]
    found["tensors"] = [v.tolist() for v in last["state_dict"].values()]
    found["optimizer"] = repr(last["optimizer_states"])
    return found | {"metrics": numbers}


ALONE = "teacher=null"
SETTINGS = {
    "all": (),
    "cosine": (ALONE,),
    "plateau": (ALONE, "scheduler=plateau", "scheduler.patience=1", "+scheduler.threshold=0.9"),
    "epochs": (ALONE, "trainer.max_steps=-1", "trainer.max_epochs=4"),
    "ema": (ALONE, "callbacks=ema", "callbacks.progress_bar=null", "callbacks.ema.decay=0.9"),
    "deit": ("distiller=deit", "baseline=false"),
}
MOMENTS = [
    ("all", "teacher", 1, "batch"),
    ("cosine", "student", 1, "validation"),
    ("epochs", "student", 3, "validation"),
]
MORE_MOMENTS = [
    ("all", "baseline", 2, "start"),
    ("cosine", "student", 0, "batch"),
    ("plateau", "student", 2, "start"),
    ("epochs", "student", 2, "start"),
    ("ema", "student", 2, "batch"),
    ("deit", "student", 1, "start"),
]
CASES = [pytest.param(*case, marks=pytest.mark.slow if case in MORE_MOMENTS else ()) for case in MOMENTS + MORE_MOMENTS]


@pytest.mark.parametrize(("setting", "stage", "epoch", "moment"), CASES)
def test_resume__equals_a_run_without_interruption(
    tmp_path: Path,
    setting: str,
    stage: str,
    epoch: int,
    moment: str,
    interrupt: list[Interrupt],
    capsys: pytest.CaptureFixture[str],
) -> None:
    overrides = ("export=null", "trainer.max_steps=8", *SETTINGS[setting])
    tiny_run(tmp_path / "whole", *overrides)
    interrupt.append(Interrupt(stage, epoch, moment))
    with pytest.raises(KeyboardInterrupt):
        tiny_run(tmp_path / "cut", *overrides)
    said = capsys.readouterr().out
    assert f"Interrupted in the stage `{stage}`. Go on with: python train.py resume={tmp_path / 'cut'}" in said
    interrupt.clear()
    assert resumed(tmp_path / "cut") == metrics(tmp_path / "whole")["student"]["val/accuracy"]
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


def test_resume__finished_stages_are_not_repeated(tmp_path: Path, interrupt: list[Interrupt]) -> None:
    interrupt.append(Interrupt("student", 1, "start"))
    with pytest.raises(KeyboardInterrupt):
        tiny_run(tmp_path, "export=null")
    interrupt[:] = [Interrupt("teacher", 0, "start"), Interrupt("baseline", 0, "start")]
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in ("teacher.safetensors", "baseline.csv")}
    resumed(tmp_path)
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in before} == before
    assert metrics(tmp_path)["run"]["finished"]


def test_resume__of_a_finished_run_reports_again(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(finished)
    assert resumed(finished) == metrics(finished)["student"]["val/accuracy"]
    assert contents(finished) == before
    assert "One run with one seed is no evidence" in capsys.readouterr().out


def test_ckpt_path__goes_on_in_a_new_folder(tmp_path: Path) -> None:
    options = ("trainer.max_steps=8", *QUICK)
    tiny_run(tmp_path / "whole", *options)
    teacher = f"teacher.checkpoint={tmp_path / 'whole/teacher.safetensors'}"
    tiny_run(tmp_path / "short", *QUICK, "trainer.max_steps=4", teacher)
    tiny_run(
        tmp_path / "rest",
        *options,
        f"ckpt_path={tmp_path / 'short/checkpoints/student/last.ckpt'}",
        teacher,
    )
    assert [row["epoch"] for row in rows(tmp_path / "rest", "student")] == ["2", "3"]
    assert (tmp_path / "rest/student.safetensors").read_bytes() == (tmp_path / "whole/student.safetensors").read_bytes()
    whole, rest = metrics(tmp_path / "whole")["student"], metrics(tmp_path / "rest")["student"]
    # A teacher that was loaded is folded when it is tested: its logits differ in their last digits.
    assert whole.pop("test/teacher_kl") == pytest.approx(rest.pop("test/teacher_kl"), rel=1e-5)
    changes = ("latency_ms", "epochs", *TIMED)
    assert whole | dict.fromkeys(changes) == rest | dict.fromkeys(changes)


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("student.safetensors", "Expected `ckpt_path` to be a Lightning checkpoint"),
        ("checkpoints/teacher/last.ckpt", "to fit the student, but"),
        ("config.yaml", "it cannot be read"),
    ],
)
def test_ckpt_path__that_does_not_fit(finished: Path, tmp_path: Path, file: str, said: str) -> None:
    with pytest.raises(ValueError, match="Expected") as raised:
        tiny_run(tmp_path, f"ckpt_path={finished / file}")
    assert said in str(raised.value)
    assert files(tmp_path) == []


def test_nan_teacher__stops_and_loses_nothing(tmp_path: Path) -> None:
    plan = planned(tmp_path / "first", *TINY, *QUICK)
    assert plan.teacher is not None
    broken = plan.teacher.model().state_dict()
    broken["fc.bias"] = torch.full_like(broken["fc.bias"], 3e38)  # finite weights, and logits that are not
    broken["fc.weight"] = torch.full_like(broken["fc.weight"], 3e38)
    torch.save(broken, tmp_path / "broken.pt")
    with pytest.raises(ValueError, match=r"Expected the teacher to return finite logits.*batch 0 of epoch 0"):
        tiny_run(tmp_path / "run", *QUICK, f"teacher.checkpoint={tmp_path / 'broken.pt'}")
    assert "teacher.safetensors" in files(tmp_path / "run")


@pytest.mark.slow
def test_run__an_average_of_shards_is_refused_before_the_teacher_trains(tmp_path: Path) -> None:
    engine = ("trainer=fsdp2", "trainer.accelerator=cpu", "trainer.devices=2", "callbacks.progress_bar=null")
    with pytest.raises(ValueError, match=r"no callback that averages weights .* but got EMAWeightAveraging"):
        run(planned(tmp_path, "debug=fast", *engine, "callbacks=ema"))
    assert files(tmp_path) == []
