"""What one process finds, all of them act on: a fault, or a signal."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from lightning_distill import Distiller
from lightning_distill.callbacks import BestAndLast, NonFinite, Stop
from tests.callbacks.test_nonfinite import FAULT, Faulty, data
from tests.ranks import answers, in_two_processes

pytestmark = pytest.mark.slow


class NanTeacher(nn.Linear):
    """Returns NaN for one certain sample, in the process that has it."""

    def forward(self, inputs: Tensor) -> Tensor:
        row = data().train_dataloader().dataset[FAULT].inputs  # type: ignore[attr-defined]
        found = (inputs == row).all(1, keepdim=True)
        return super().forward(inputs) + torch.where(found, torch.nan, 0.0)


class SignalOnce(pl.Callback):
    """One process of the two gets a signal, in the second epoch's first batch."""

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        if (trainer.global_rank, trainer.current_epoch, batch_idx) == (1, 1, 0):
            signal.raise_signal(signal.SIGTERM)


def fit(
    rank: int,
    folder: Path,
    kind: str,
    *callbacks: pl.Callback,
    teacher: Any = nn.Linear,
    batch: int = 4,
    **options: Any,
) -> None:
    torch.manual_seed(0)
    student = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    module = Distiller(
        student, teacher(4, 3), distillation_loss=Faulty(kind), optimizer=partial(torch.optim.AdamW, lr=0.1)
    )
    shown: Any = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(
        **shown,
        **{"accelerator": "cpu", "devices": 2, "strategy": "ddp", "max_epochs": 3} | options,
        callbacks=list(callbacks),
        enable_checkpointing=any(isinstance(callback, BestAndLast) for callback in callbacks),
    )
    trainer.fit(module, datamodule=data())
    torch.save(module.student.state_dict(), folder / f"student{rank}.pt")


def fit_and_raise(rank: int, folder: Path, kind: str) -> None:
    fit(rank, folder, kind, NonFinite())


@pytest.mark.parametrize("kind", ["nan", "gradient"])
def test_nonfinite__of_one_process_is_raised_in_both(kind: str, tmp_path: Path) -> None:
    first, second = answers(fit_and_raise, tmp_path, kind)
    assert first == second
    assert first.startswith("ValueError: Expected finite losses and gradients, but got NaN or infinity in `")
    if kind == "nan":  # of the 4 samples of its batch, and of no others
        assert first.count("sample ids") == 1
        ids = first.split("sample ids ")[1].split(")")[0].split(", ")
        assert str(FAULT) in ids
        assert len(ids) == 4
    else:
        assert "process 0: sample ids" in first
        assert "process 1: sample ids" in first


def fit_and_skip(rank: int, folder: Path) -> None:
    counter = NonFinite("skip")
    fit(rank, folder, "nan", counter)
    (folder / f"skipped{rank}.txt").write_text(str(counter.skipped))


def test_nonfinite__of_one_process_is_skipped_in_both(tmp_path: Path) -> None:
    in_two_processes(fit_and_skip, tmp_path)
    assert [(tmp_path / f"skipped{rank}.txt").read_text() for rank in range(2)] == ["3", "3"]  # once in every epoch
    first, second = (torch.load(tmp_path / f"student{rank}.pt") for rank in range(2))
    own = [name for name in first if "running" in name]  # BatchNorm's statistics are a process's own
    assert len(own) == 2
    for name, value in first.items():
        assert bool(value.isfinite().all())
        assert name in own or torch.equal(value, second[name]), name


def fit_with_nan_teacher(rank: int, folder: Path) -> None:
    fit(rank, folder, "1", NonFinite(), teacher=NanTeacher)


def test_teacher__nan_in_one_process_ends_both(tmp_path: Path) -> None:
    said = answers(fit_with_nan_teacher, tmp_path)
    assert sum("Expected the teacher to return finite logits" in one for one in said) == 1
    assert all(said)  # the other one's connection is gone


def fit_with_signal(rank: int, folder: Path) -> None:
    fit(rank, folder, "1", SignalOnce(), BestAndLast(folder, stop=Stop()))


def test_signal__to_one_process_ends_both(tmp_path: Path) -> None:
    """At the end of the epoch, when they agree; the checkpoint is whole."""
    assert answers(fit_with_signal, tmp_path) == ["StopRequested: stopped by SIGTERM"] * 2
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["epoch"] == 1
