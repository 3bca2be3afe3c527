"""Cross-entropy for classes of unequal size, typed as an override."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from lightning_distill import Distiller
from lightning_distill.losses import class_weighted_cross_entropy
from tests.configs import planned


def test_value__is_the_weighted_mean() -> None:
    logits, target = torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), torch.tensor([0, 1, 1])
    each = F.cross_entropy(logits, target, reduction="none")
    weights = torch.tensor([0.5, 1.5, 1.5])
    loss = class_weighted_cross_entropy([0.5, 1.5])
    torch.testing.assert_close(loss(logits, target), (each * weights).sum() / weights.sum())


def test_override__weighs_the_students_classes_by_the_data(tmp_path: Path) -> None:
    imbalanced = ["data=fake", "data.image_size=8", "data.num_classes=3", "data.samples=210", "data.imbalance=0.25"]
    plan = planned(tmp_path, *imbalanced, "student_loss=class_weighted")
    distiller = plan.stage.distiller(plan.student(), None).eval()
    weights = torch.tensor([3 / 7, 6 / 7, 12 / 7])
    torch.testing.assert_close(distiller.student_loss.weight, weights)
    batch = next(iter(plan.stage.data.train_dataloader()))
    expected = F.cross_entropy(distiller(batch.inputs), batch.target, weights)
    torch.testing.assert_close(distiller.compute_losses(batch)["student_loss"], expected)


def test_half_precision_module__weighs_in_full() -> None:
    loss = class_weighted_cross_entropy([0.5, 1.5])
    distiller = Distiller(torch.nn.Linear(2, 2), student_loss=loss).bfloat16()
    batch = (torch.ones(2, 2, dtype=torch.bfloat16), torch.tensor([0, -100]))
    assert distiller.compute_losses(batch)["student_loss"].dtype == torch.float32


@pytest.mark.parametrize("weights", [[0.0, 0.0], [1.0, -1.0], [[1.0, 2.0]]])
def test_bad_weights__are_named(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="`class_weights` to hold one number of at least 0 for each class"):
        class_weighted_cross_entropy(weights)
