from __future__ import annotations

import numpy as np
import pytest
import torch

from lightning_distill.losses.pearson import DISTLoss, dist_loss


@pytest.mark.parametrize("variant", ["paper", "clamped"])
def test_dist__equals_numpys_correlations(variant: str) -> None:
    student, teacher = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    p, q = (student / 2).softmax(1).numpy(), (teacher / 2).softmax(1).numpy()
    rows = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(p, q, strict=True)])
    columns = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(p.T, q.T, strict=True)])
    ours = dist_loss(student, teacher, beta=2.0, gamma=0.5, temperature=2.0, variant=variant)
    assert ours.item() == pytest.approx(4 * (2 * (1 - rows) + 0.5 * (1 - columns)), rel=1e-5)


def test_dist__is_zero_at_agreement_and_two_for_opposites() -> None:
    logits = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert abs(dist_loss(logits, logits).item()) < 1e-6
    two = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    assert dist_loss(two, two.flip(0)).item() == pytest.approx(4.0, rel=1e-5)


def test_dist__one_sample_leaves_the_constant_of_the_batch_part() -> None:
    student, teacher = torch.randn(2, 1, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    both = dist_loss(student, teacher)
    torch.testing.assert_close(both, dist_loss(student, teacher, gamma=0.0) + 1.0)


@pytest.mark.parametrize("variant", ["paper", "clamped"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_dist__a_zero_head_is_pulled_towards_the_teacher(variant: str, dtype: torch.dtype) -> None:
    student = torch.zeros(2, 3, dtype=dtype, requires_grad=True)
    teacher = torch.tensor([[3.0, 0.0, -3.0], [3.0, 0.5, -3.0]], dtype=dtype)
    DISTLoss(variant=variant)(student, teacher).backward()
    assert (student.grad[:, 0] < 0).all()
    assert (student.grad[:, 2] > 0).all()
    assert student.grad.abs().max() < 10


def test_dist__an_unknown_variant_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="Did you mean 'paper'"):
        DISTLoss(variant="papers")
