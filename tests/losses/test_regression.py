from __future__ import annotations

import pytest
import torch

from lightning_distill.losses.regression import CosineLogitsLoss, MSELogitsLoss, cosine_logits_loss, mse_logits_loss


def test_mse__sums_over_classes_and_averages_over_samples() -> None:
    student, teacher = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.zeros(2, 2)
    assert mse_logits_loss(student, teacher) == 2.5
    assert mse_logits_loss(student, teacher, reduction="mean") == 1.25


def test_mse__centered_ignores_a_shift() -> None:
    student, teacher = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shifted = mse_logits_loss(student + 3, teacher, center=True)
    torch.testing.assert_close(shifted, mse_logits_loss(student, teacher, center=True))
    assert mse_logits_loss(student + 3, teacher) > 5 * shifted


def test_cosine__angles_of_known_size() -> None:
    teacher = torch.tensor([[2.0, 0.0], [0.0, 3.0], [1.0, 0.0]])
    student = torch.tensor([[5.0, 0.0], [1.0, 0.0], [-4.0, 0.0]])
    assert cosine_logits_loss(student, teacher).item() == pytest.approx((0 + 1 + 2) / 3)


def test_cosine__centered_is_a_correlation() -> None:
    student, teacher = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = 1 - torch.stack(
        [torch.corrcoef(torch.stack([s, t]))[0, 1] for s, t in zip(student, teacher, strict=True)]
    )
    torch.testing.assert_close(CosineLogitsLoss(center=True)(student, teacher), expected.mean())


def test_mse__an_unknown_reduction_is_rejected() -> None:
    with pytest.raises(ValueError, match="`reduction` to be one of 'sum', 'mean'"):
        MSELogitsLoss(reduction="batchmean")
