"""More processes, other precisions, compiled networks: the same training."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EMAWeightAveraging
from pytorch_lightning.strategies import FSDPStrategy
from torch import Tensor, nn

from lightning_distill import DeiTDistiller, Distiller
from lightning_distill.callbacks import BestAndLast, EpochCsv, SampleCount
from lightning_distill.data import TensorDataModule
from lightning_distill.distillers import ShardedStudent, Term
from lightning_distill.distillers.sharding import check_shards
from lightning_distill.losses import RKDLoss
from lightning_distill.sharded import consolidate
from lightning_distill.weights import load_weights
from tests.ranks import in_two_processes

SAMPLES = 24
ADAM = partial(torch.optim.AdamW, lr=0.05)
QUIET: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}


class Net(nn.Module):
    """Without BatchNorm, whose statistics are a process's own."""

    def __init__(self, width: int = 6, heads: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, width), nn.Tanh())
        self.heads = nn.ModuleList(nn.Linear(width, 3) for _ in range(heads))

    def forward(self, inputs: Tensor) -> Any:
        features = self.body(inputs)
        outputs = tuple(head(features) for head in self.heads)
        return outputs if len(outputs) > 1 else outputs[0]


def data(batch_size: int) -> TensorDataModule:
    inputs = torch.randn(SAMPLES, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    train = (inputs, inputs[:, :3].argmax(1))
    odd = (inputs[:13], train[1][:13])  # does not divide by the number of processes
    return TensorDataModule(train, odd, odd, num_classes=3, batch_size=batch_size)


def relations(student: nn.Module, teacher: nn.Module) -> Distiller:
    terms = {"rkd": Term(RKDLoss(gather=True), weight=2.0, student="body", teacher="body")}
    example = torch.zeros(2, 4, dtype=torch.float64)
    return Distiller(student, teacher, terms=terms, optimizer=ADAM, example_input=example, teacher_agreement=True)


def make(kind: str) -> Any:
    torch.manual_seed(0)
    student, teacher = Net(heads=2 if kind == "deit" else 1).double(), Net(width=9).double()
    if kind == "deit":
        return DeiTDistiller(student, teacher, optimizer=ADAM, teacher_agreement=True)
    if kind == "relations":
        return relations(student, teacher)
    return Distiller(student, teacher, optimizer=ADAM, teacher_agreement=True)


def one_rank(kind: str, devices: int, folder: Path, strategy: Any = "ddp_fork", **options: Any) -> None:
    module, keeper, counter = make(kind), BestAndLast(folder), SampleCount()
    trainer = pl.Trainer(
        **QUIET | {"accelerator": "cpu", "devices": devices, "max_epochs": 3, "precision": 64} | options,
        strategy=strategy if devices > 1 else "auto",
        callbacks=[keeper, counter, Note(folder)],
    )
    trainer.fit(module, datamodule=data(8 // devices))
    trainer.test(module, datamodule=data(8 // devices), verbose=False)


class Note(pl.Callback):
    """Writes down what a rank knows, in its own process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_end(self, trainer: Any, module: Any) -> None:
        keeper = next(c for c in trainer.callbacks if isinstance(c, BestAndLast))
        found = {
            "weights": {name: value.clone() for name, value in module.state_dict().items()},
            "values": {name: float(value) for name, value in trainer.callback_metrics.items()},
            "best": [keeper.best_epoch, keeper.best_score],
        }
        torch.save(found, self.folder / f"fit{trainer.global_rank}.pt")

    def on_test_end(self, trainer: Any, module: Any) -> None:
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        torch.save(values, self.folder / f"test{trainer.global_rank}.pt")


def run(kind: str, devices: int, folder: Path, **options: Any) -> list[dict[str, Any]]:
    folder.mkdir()
    one_rank(kind, devices, folder, **options)
    return [
        torch.load(folder / f"fit{rank}.pt", weights_only=True)
        | {"test": torch.load(folder / f"test{rank}.pt", weights_only=True)}
        for rank in range(devices)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["classic", "deit", "relations"])
def test_ddp__two_processes_equal_one_with_the_doubled_batch(kind: str, tmp_path: Path) -> None:
    """Weights to 1e-10 in float64; metrics and the best epoch the same on all ranks, every sample counted once."""
    [one], two = run(kind, 1, tmp_path / "one"), run(kind, 2, tmp_path / "two")
    for rank in two:
        for name, value in one["weights"].items():
            torch.testing.assert_close(rank["weights"][name], value, rtol=1e-10, atol=1e-10, msg=name)
        assert rank["best"] == pytest.approx(one["best"], abs=1e-12)
        assert rank["values"] == pytest.approx(one["values"], abs=1e-10)
        assert rank["test"] == pytest.approx(one["test"], abs=1e-10)  # 13 samples in shares of 7 and 6


@pytest.mark.slow
def test_ddp__the_teacher_is_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What DDP broadcasts at the start and reduces in a step is the student alone."""
    monkeypatch.setattr(
        "torch.nn.parallel.distributed._verify_param_shape_across_processes",
        lambda group, parameters, logger=None: (tmp_path / "sent").write_text(str(sum(p.numel() for p in parameters))),
    )
    run("classic", 2, tmp_path / "two")
    student = sum(p.numel() for p in make("classic").student.parameters())
    assert int((tmp_path / "sent").read_text()) == student


class KeepOne(pl.Callback):
    """Keeps the checkpoint that was written after the first batch of the second epoch."""

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.is_global_zero and (trainer.current_epoch, batch_idx) == (1, 1):
            last = Path(trainer.default_root_dir) / "last.ckpt"
            shutil.copyfile(last, last.with_name("middle.ckpt"))


def last_rows(folder: Path, middle: Path | None) -> list[dict[str, str]]:
    """Train with two processes, from the middle of the second epoch if it is given: the rows of that and the next."""
    folder.mkdir()
    trainer = pl.Trainer(
        **QUIET | {"accelerator": "cpu", "devices": 2, "max_epochs": 3, "precision": 64, "strategy": "ddp_fork"},
        callbacks=[EpochCsv(folder / "log.csv"), BestAndLast(folder, every_n_steps=1)] + [KeepOne()] * (middle is None),
        default_root_dir=folder,
    )
    trainer.fit(make("classic"), datamodule=data(4), ckpt_path=middle, weights_only=True)
    with (folder / "log.csv").open() as file:
        return [{**row, "seconds": ""} for row in csv.DictReader(file)][-2:]


@pytest.mark.slow
def test_ddp__resumed_within_an_epoch_logs_the_means_of_all_its_batches(tmp_path: Path) -> None:
    """Every process goes on with sums of its own, not with those of the process that wrote the checkpoint."""
    expected = last_rows(tmp_path / "whole", None)
    assert [row["epoch"] for row in expected] == ["1", "2"]
    assert last_rows(tmp_path / "rest", tmp_path / "whole/middle.ckpt") == expected


def test_accumulation__equals_the_larger_batch() -> None:
    """For losses that are means over samples."""

    def fit(batch_size: int, accumulate: int) -> dict[str, Tensor]:
        module = make("classic")
        trainer = pl.Trainer(
            **QUIET,
            accelerator="cpu",
            max_epochs=2,
            precision=64,
            accumulate_grad_batches=accumulate,
            enable_checkpointing=False,
        )
        trainer.fit(module, datamodule=data(batch_size))
        return dict(module.state_dict())

    once, twice = fit(8, 1), fit(4, 2)
    for name, value in once.items():
        torch.testing.assert_close(twice[name], value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true", "64-true"])
def test_precision__trains_with_finite_losses(precision: Any) -> None:
    check_precision(precision, "cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="16-mixed scales losses on a CUDA device")
def test_precision__16_mixed() -> None:
    check_precision("16-mixed", "gpu")


def check_precision(precision: Any, accelerator: str) -> None:
    torch.manual_seed(0)
    module = Distiller(Net(), Net(9), optimizer=ADAM, example_input=torch.zeros(2, 4))
    before = module.student.body[0].weight.detach().clone()
    trainer = pl.Trainer(
        **QUIET,
        accelerator=accelerator,
        devices=1,
        max_epochs=3,
        precision=precision,
        enable_checkpointing=False,
    )
    inputs = torch.randn(SAMPLES, 4, generator=torch.Generator().manual_seed(2))
    samples = (inputs, inputs[:, :3].argmax(1))
    trainer.fit(module, datamodule=TensorDataModule(samples, samples, num_classes=3, batch_size=8))
    values = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert all(value == value and abs(value) < 10 for value in values.values()), values
    assert not torch.equal(before, module.student.body[0].weight.detach().cpu().to(before.dtype))
    reference = Net()
    reference.load_state_dict(
        {name: value.to(torch.get_default_dtype()) for name, value in module.student.state_dict().items()}
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_compile__with_taps_is_the_same_training() -> None:
    """``torch.compile`` on both networks: taps still see the inner layers."""

    def fit(compiled: Callable[[nn.Module], Any]) -> dict[str, Tensor]:
        torch.manual_seed(0)
        student, teacher = Net().double(), Net(9).double()
        module = relations(compiled(student), compiled(teacher))
        trainer = pl.Trainer(**QUIET, accelerator="cpu", max_steps=4, precision=64, enable_checkpointing=False)
        trainer.fit(module, datamodule=data(8))
        return {name.replace("_orig_mod.", ""): value for name, value in module.state_dict().items()}

    plain = fit(lambda network: network)
    compiled = fit(partial(torch.compile, backend="aot_eager"))
    assert plain.keys() == compiled.keys()
    for name, value in plain.items():
        torch.testing.assert_close(compiled[name], value, rtol=1e-10, atol=1e-10)


def sharded_rank(rank: int, folder: Path, shards: bool) -> None:
    module = make("classic")
    strategy = ShardedStudent(save_distributed_checkpoint=shards)
    trainer = pl.Trainer(
        **QUIET, accelerator="cpu", devices=2, strategy=strategy, max_epochs=3, callbacks=[BestAndLast(folder)]
    )
    trainer.fit(module, datamodule=data(4))
    local = {name: list(p.to_local().shape) for name, p in module.student.named_parameters()}  # type: ignore[operator]
    torch.save(local, folder / f"local{rank}.pt")


@pytest.mark.slow
@pytest.mark.parametrize("shards", [False, True], ids=["file", "folder"])
def test_fsdp2__shards_the_student_and_trains_as_one_process(tmp_path: Path, shards: bool) -> None:
    in_two_processes(sharded_rank, tmp_path, shards)
    [one] = run("classic", 1, tmp_path / "one")
    assert torch.load(tmp_path / "local0.pt")["body.0.weight"] == [3, 4]  # half of its 6 rows
    last = tmp_path / "last.ckpt"
    assert last.is_dir() == shards
    if shards:
        consolidate(last, tmp_path / "whole.ckpt")
        last = tmp_path / "whole.ckpt"
    student = Net().double()
    load_weights(student, last)
    for name, value in student.state_dict().items():
        torch.testing.assert_close(value, one["weights"][f"student.{name}"], rtol=1e-10, atol=1e-10)
    teacher = Net(width=9).double()
    again = Distiller.load_from_checkpoint(last, student=Net().double(), teacher=teacher, weights_only=True)
    assert torch.equal(again.student.body[0].weight, student.body[0].weight)


def test_fsdp2__trains_the_student_alone() -> None:
    module = relations(Net().double(), Net(9).double())
    module.extra = nn.Linear(2, 2)
    trainer = pl.Trainer(**QUIET, accelerator="cpu", devices=2, strategy=ShardedStudent())
    with pytest.raises(ValueError, match=r"Expected the student alone to be trained.*but extra\.weight, extra\.bias"):
        check_shards(module, trainer)


@pytest.mark.parametrize("strategy", [ShardedStudent(), FSDPStrategy()], ids=["fsdp2", "fsdp"])
def test_shards__are_not_averaged(strategy: Any) -> None:
    trainer = pl.Trainer(**QUIET, accelerator="cpu", devices=2, strategy="ddp", callbacks=[EMAWeightAveraging()])
    check_shards(make("classic"), trainer)
    trainer._accelerator_connector.strategy = strategy
    with pytest.raises(ValueError, match=r"but got EMAWeightAveraging\. Leave it out.*trainer=ddp"):
        check_shards(make("classic"), trainer)
