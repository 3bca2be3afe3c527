from __future__ import annotations

import pytest
import torch

from lightning_distill.losses.bce import SoftTargetBCELoss, soft_target_bce_loss


def test_bce__equals_the_formula() -> None:
    student, teacher = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    p, q = teacher.sigmoid(), student.sigmoid()
    expected = -(p * q.log() + (1 - p) * (1 - q).log())
    torch.testing.assert_close(soft_target_bce_loss(student, teacher), expected.sum(1).mean())
    torch.testing.assert_close(soft_target_bce_loss(student, teacher, reduction="mean"), expected.mean())


def test_bce__an_unknown_reduction_is_rejected() -> None:
    with pytest.raises(ValueError, match="Did you mean 'mean'"):
        SoftTargetBCELoss(reduction="means")
