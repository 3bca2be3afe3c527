"""What is said before hours are spent."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from lightning_distill import Distiller, FrozenTeacher
from lightning_distill.callbacks import Preflight
from lightning_distill.data import TensorDataModule

IMAGES = torch.randn(90, 10, generator=torch.Generator().manual_seed(0))
LABELS = IMAGES.argmax(1)


def perfect() -> nn.Module:
    teacher = nn.Linear(10, 10, bias=False)
    nn.init.eye_(teacher.weight)
    return teacher


def fit(teacher: nn.Module | None, preflight: Preflight, **options: Any) -> pl.Trainer:
    torch.manual_seed(0)
    samples = (IMAGES, LABELS)
    data = TensorDataModule(samples, samples, num_classes=10, batch_size=9)
    trainer = pl.Trainer(
        **{
            "max_epochs": 2,
            "accelerator": "cpu",
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            **options,
        },
        callbacks=[preflight],
    )
    sgd = partial(torch.optim.SGD, lr=0.1)
    trainer.fit(Distiller(nn.Linear(10, 10), teacher, optimizer=sgd), datamodule=data)
    return trainer


def test_good_teacher__its_accuracy_is_printed_and_nothing_warned(capsys: pytest.CaptureFixture[str]) -> None:
    preflight = Preflight()
    trainer = fit(perfect(), preflight)
    printed = capsys.readouterr().out
    assert preflight.teacher_metrics == {"val/accuracy": 1.0}
    assert "teacher: 100 parameters, val/accuracy 100.00% on 90 validation samples" in printed
    assert "student: 110 trained parameters" in printed
    assert "warning" not in printed
    assert float(trainer.callback_metrics["val/accuracy"]) < 1.0  # the student's: the teacher left no trace in it


@pytest.mark.parametrize("wrong", ["weights", "input"])
def test_bad_teacher__is_warned_about(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(1)
    teacher = nn.Linear(10, 10) if wrong == "weights" else nn.Sequential(Shift(50.0), perfect())
    fit(FrozenTeacher(teacher), Preflight())
    assert re.search(r"warning: the teacher is right for \d+\.\d% .* chance \(10\.0% for 10 classes\)", said(capsys))


class Shift(nn.Module):
    """As a missing normalisation would: one channel drowns the others."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.by * nn.functional.one_hot(torch.tensor(3), 10)


def test_time__of_a_step_an_epoch_and_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    preflight = Preflight(role="baseline", steps=5)
    fit(None, preflight)
    assert preflight.seconds_per_step is not None
    assert 0 < preflight.seconds_per_step < 5
    printed = said(capsys)
    assert re.search(
        r"baseline: about [\d.]+ ms per step, \S+ \w+ per epoch of 10 steps, \S+ \w+ for 2 epochs", printed
    )
    assert re.search(r"; \d+\.\d\d GB of memory", printed)
    assert "teacher" not in printed


def test_teacher_batches__bound_the_cost(capsys: pytest.CaptureFixture[str]) -> None:
    fit(perfect(), Preflight(teacher_batches=3))
    assert "on 27 validation samples" in said(capsys)
    fit(perfect(), Preflight(teacher_batches=3), limit_val_batches=2)
    assert "on 18 validation samples" in said(capsys)
    fit(perfect(), Preflight(), limit_val_batches=0)
    assert "validation samples" not in said(capsys)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out
