"""A finished run is tested and exported from its folder alone."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_distill.cli import evaluate, export
from lightning_distill.cli.trust import is_known
from lightning_distill.export import read_program
from lightning_distill.weights import read_weights
from tests.configs import files, tiny_run

FROM_ANSWERS = ("test/ece", "test/teacher_kl")  # computed at the end of a run out of the answers that it keeps


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    tiny_run(folder, "baseline=false")
    (folder / "bad.onnx").write_text("no program")
    return folder


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    return tmp_path


def trained(run: Path) -> dict[str, Any]:
    numbers = json.loads((run / "metrics.json").read_text())["student"]
    return {name: value for name, value in numbers.items() if name.startswith("test/") and name not in FROM_ANSWERS}


def called(module: Any, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["command", *arguments])
    return int(module.cli())


# Evaluate.


def test_evaluate__gives_trainings_numbers_exactly(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(run)
    assert evaluate.main([f"run={run}"]) == trained(run)
    assert capsys.readouterr().out.count("equal") == len(trained(run)) == 3
    assert files(run) == before


def test_evaluate__of_the_student_alone(run: Path, workplace: Path) -> None:
    """Its weights and the config: without the teacher, all but the agreement with it."""
    for name in ("config.yaml", "student.safetensors"):
        shutil.copy(run / name, workplace / name)
    expected = trained(run)
    del expected["test/teacher_agreement"]
    assert evaluate.main([f"run={workplace}", "to=numbers.json"]) == expected
    assert json.loads(Path("numbers.json").read_text()) == expected


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["pt2", "onnx"])
def test_evaluate__of_a_program(run: Path, suffix: str, workplace: Path) -> None:
    export.main([f"run={run}", f"to=student.{suffix}"])
    found = evaluate.main([f"run={run}", f"weights=student.{suffix}"])
    assert found == pytest.approx(trained(run), abs=1e-6)


def test_evaluate__by_overrides_instead_of_a_run(run: Path) -> None:
    options = ["debug=fast", "trainer=cpu", "baseline=false", "report=false", "callbacks.progress_bar=null"]
    expected = trained(run)
    del expected["test/teacher_agreement"]
    assert evaluate.main([f"weights={run}/student.safetensors", *options]) == expected


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["experiment=digits_deit", "experiment=simkd"])
def test_evaluate__of_other_distillers(recipe: str, workplace: Path) -> None:
    tiny_run(workplace / "run", recipe, "baseline=false", "export=null")
    assert evaluate.main(["run=run"]) == trained(workplace / "run")


def test_evaluate__with_a_changed_setting(run: Path) -> None:
    found = evaluate.main([f"run={run}", "trainer.limit_test_batches=1"])
    assert found["test/accuracy"] != trained(run)["test/accuracy"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run=nowhere"], "Expected `run` to name the folder of a run, but nowhere has no config.yaml."),
        (["alpha=1"], "Expected run=FOLDER or weights=FILE, but got neither."),
        (["nowhere"], "Expected key=value, but got 'nowhere'."),
        (["run={run}", "weights=x.safetensors"], "there is no file x.safetensors"),
        (["run={run}", "trainer.acelerator=cpu"], "Did you mean `trainer.accelerator`?"),
        (["run={run}", "trust_config=perhaps"], "Expected `trust_config` to be one of"),
        (["run={run}", "ckpt_path=last.ckpt"], "Expected no `ckpt_path`, since nothing is trained here"),
        (
            ["run={run}", "data.batch_size=[1"],
            "Expected `data.batch_size` to have a value that can be read, but got '[1'",
        ),
        (["run={run}", "weights={run}/bad.onnx"], "bad.onnx to be an ONNX program, but it cannot be read"),
        (["run={run}", "to={run}/bad.onnx/x.json"], "Expected a file or a folder that can be made and read, but got"),
        (["weights={run}/student.safetensors", "student=mpl"], "but got 'mpl'. Did you mean student=mlp?"),
        (["run={run}", "weights={run}/teacher.safetensors"], "to fit the student"),
    ],
)
def test_evaluate__mistakes_are_answered(
    run: Path, arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called(evaluate, monkeypatch, *(argument.format(run=run) for argument in arguments)) == 1
    printed = capsys.readouterr().err
    assert said in printed
    assert "Traceback" not in printed


# Export.


def test_export__weights_and_programs(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for suffix in ("safetensors", "pt2", "onnx"):
        assert export.main([f"run={run}", f"to=student.{suffix}"]) == Path(f"student.{suffix}")
    said = capsys.readouterr().out
    assert "student.onnx: 2" in said
    assert "ONNX opset 18, equal to the network for batches of 1, 2, 3" in said
    weights, own = read_weights("student.safetensors"), read_weights(run / "student.safetensors")
    assert all(torch.equal(weights[name], own[name]) for name in own)
    inputs = torch.rand(5, 1, 8, 8)
    onnx, program = (read_program(Path(f"student.{suffix}"))(inputs) for suffix in ("onnx", "pt2"))
    torch.testing.assert_close(onnx, program, rtol=1e-4, atol=1e-5)


def test_export__int8_with_accuracy_before_and_after(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export.main([f"run={run}", "to=small.onnx", "int8=true", "calibration_samples=50"])
    said = capsys.readouterr().out
    before = trained(run)["test/accuracy"]
    assert f"test accuracy: {before:.2%} in float32, " in said
    assert read_program(Path("small.onnx"))(torch.rand(3, 1, 8, 8)).shape == (3, 10)
    assert files(Path()) == ["small.onnx"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run={run}"], "Expected to=FILE, but got none."),
        (["run={run}", "to=a.onx"], "Did you mean '.onnx'?"),
        (["run={run}", "to=a.onnx", "calibration_samples=5"], "Expected int8=true with `calibration_samples`"),
        (["run={run}", "to=a.pt2", "int8=true"], "Expected `to` to end in .onnx where int8=true"),
        (
            ["run={run}", "to=a.onnx", "int8=true", "calibration_samples=-1"],
            "`calibration_samples` to be a whole number",
        ),
    ],
)
def test_export__mistakes_are_answered(
    run: Path, arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called(export, monkeypatch, *(argument.format(run=run) for argument in arguments)) == 1
    assert said in capsys.readouterr().err
    assert files(Path()) == []


@pytest.mark.parametrize("module", [evaluate, export])
def test_help__is_short(module: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(module, monkeypatch, "--help") == 0
    said = capsys.readouterr().out
    assert said == module.USAGE + "\n"
    assert 5 < len(said.splitlines()) < 25
    assert all(f"{option}=" in said for option in module.OPTIONS)
    assert called(module, monkeypatch) == 2


# Trust.


def test_trust__a_strangers_config_is_not_run(
    run: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its code would have written a file."""
    shutil.copytree(run, workplace / "run")
    (workplace / "theirs.py").write_text(
        "import pathlib\npathlib.Path('ran').touch()\nfrom lightning_distill.models import SmallConvNet as Net\n"
    )
    monkeypatch.syspath_prepend(str(workplace))
    config = (workplace / "run/config.yaml").read_text()
    changed = config.replace("lightning_distill.models.SmallConvNet", "theirs.Net")
    assert changed != config
    (workplace / "run/config.yaml").write_text(changed)
    assert called(evaluate, monkeypatch, "run=run") == 1
    said = capsys.readouterr().err
    assert "its `student._target_` is theirs.Net: building it would run that code." in said.replace("\n", " ")
    assert "trust_config=true" in said
    assert not (workplace / "ran").exists()
    assert evaluate.main(["run=run", "trust_config=true"]) == trained(run)
    assert (workplace / "ran").exists()


@pytest.mark.parametrize("target", ["torch.nn.Linear", "lightning_distill.data.DigitsDataModule", "timm.create_model"])
def test_trust__what_runs_are_made_of(target: str) -> None:
    assert is_known(target)
