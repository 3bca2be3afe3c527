"""Students and teachers of several labels, and of values, through a whole run."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanSquaredError
from torchmetrics.classification import MultilabelAccuracy, MultilabelF1Score

from lightning_distill import Distiller, FrozenTeacher
from lightning_distill.distillers import Distillation
from lightning_distill.losses import KLDistillationLoss, MSELogitsLoss, SoftTargetBCELoss

INPUTS = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
# Each row has none, one or several of three labels.
LABELS = (INPUTS[:, :3] > 0).float()
VALUES = INPUTS[:, :2] * 3


def networks(outputs: int, teacher_outputs: int | None = None) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return nn.Linear(4, outputs), nn.Linear(4, teacher_outputs or outputs)


def fit(distiller: Distiller, target: Tensor) -> dict[str, float]:
    """Two batches of everything; the numbers that were logged."""
    loader = DataLoader(TensorDataset(INPUTS, target), batch_size=4)
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    trainer = pl.Trainer(accelerator="cpu", max_epochs=1, **quiet)  # type: ignore[arg-type]
    trainer.fit(distiller, loader, loader)
    logged = {name: float(value) for name, value in trainer.logged_metrics.items()}
    trainer.test(distiller, loader, verbose=False)
    return logged | {name: float(value) for name, value in trainer.logged_metrics.items()}


def distiller(outputs: int, **options: Any) -> Distiller:
    student, teacher = networks(outputs)
    return Distiller(student, teacher, alpha=0.3, optimizer=partial(torch.optim.SGD, lr=0.1), **options)


@pytest.mark.parametrize("target", [LABELS, LABELS.long(), LABELS.bool()], ids=["float", "int", "bool"])
def test_labels__a_whole_run(target: Tensor) -> None:
    module = distiller(3, student_loss=nn.BCEWithLogitsLoss(), teacher_agreement=True, example_input=INPUTS[:2])
    assert isinstance(module.distillation_loss, SoftTargetBCELoss)
    student, teacher = module.student(INPUTS), module.teacher(INPUTS)  # type: ignore[misc]
    losses = module.compute_losses((INPUTS, target))
    torch.testing.assert_close(losses["student_loss"], F.binary_cross_entropy_with_logits(student, LABELS))
    expected = F.binary_cross_entropy_with_logits(student, teacher.sigmoid())
    torch.testing.assert_close(losses["distillation_loss"], expected)
    logged = fit(module, target)
    logits = module.student(INPUTS)
    assert logged["test/accuracy"] == pytest.approx(float(((logits > 0) == LABELS.bool()).float().mean()))
    assert logged["val/teacher_agreement"] == pytest.approx(float(((logits > 0) == (teacher > 0)).float().mean()))
    assert {"train/accuracy", "val/accuracy", "train/distillation_loss"} <= set(logged)


def test_labels__metrics_of_torchmetrics_get_whole_numbers() -> None:
    metrics = {"accuracy": MultilabelAccuracy(3, average="micro"), "f1": MultilabelF1Score(3, average="micro")}
    module = distiller(3, student_loss=nn.BCEWithLogitsLoss(), metrics=metrics)
    logged = fit(module, LABELS)
    logits = module.student(INPUTS)
    assert logged["test/accuracy"] == pytest.approx(float(((logits > 0) == LABELS.bool()).float().mean()))
    assert 0 < logged["test/f1"] <= 1


def test_labels__some_of_the_teachers() -> None:
    student, teacher = networks(3, 5)
    frozen = FrozenTeacher(teacher, class_map=[-1, 0, 1, 2, 2], multi_label=True)
    module = Distiller(student, frozen, student_loss=nn.BCEWithLogitsLoss(), example_input=INPUTS[:2])
    answer, own = module.teacher_logits(module.unpack_batch((INPUTS,))), teacher(INPUTS)
    assert torch.equal(answer[:, :2], own[:, 1:3])
    assert torch.equal(answer[:, 2], own[:, 3:].amax(1))


def test_values__a_whole_run() -> None:
    module = distiller(2, student_loss=nn.MSELoss(), example_input=INPUTS[:2])
    assert isinstance(module.distillation_loss, MSELogitsLoss)
    student, teacher = module.student(INPUTS), module.teacher(INPUTS)  # type: ignore[misc]
    losses = module.compute_losses((INPUTS, VALUES))
    torch.testing.assert_close(losses["student_loss"], F.mse_loss(student, VALUES))
    torch.testing.assert_close(losses["distillation_loss"], F.mse_loss(student, teacher))
    logged = fit(module, VALUES)
    assert logged["test/mae"] == pytest.approx(float((module.student(INPUTS).detach() - VALUES).abs().mean()), rel=1e-5)
    assert "val/accuracy" not in logged


def test_values__metrics_of_torchmetrics_and_other_losses() -> None:
    module = distiller(
        2, student_loss=nn.HuberLoss(), distillation_loss=nn.MSELoss(), metrics={"mse": MeanSquaredError()}
    )
    logged = fit(module, VALUES)
    assert logged["test/mse"] == pytest.approx(
        float((module.student(INPUTS).detach() - VALUES).square().mean()), rel=1e-5
    )


def test_values__agreement_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected `teacher_agreement` to be False"):
        distiller(2, student_loss=nn.MSELoss(), teacher_agreement=True)


def test_values__another_number_is_found_before_training() -> None:
    student, teacher = networks(2, 3)
    with pytest.raises(ValueError, match="got 3 and 2"):
        Distiller(student, teacher, student_loss=nn.MSELoss(), example_input=INPUTS[:2])


def test_without_lightning__the_defaults_are_the_same() -> None:
    losses = {
        loss: Distillation(*networks(3), student_loss=loss).distillation_loss
        for loss in (nn.MSELoss(), nn.BCEWithLogitsLoss())
    }
    assert [type(found) for found in losses.values()] == [MSELogitsLoss, SoftTargetBCELoss]
    assert isinstance(Distillation(*networks(3)).distillation_loss, KLDistillationLoss)
