from __future__ import annotations

import numpy as np
import pytest
import torch

from lightning_distill.losses.similarity_direction import SKDLoss, skd_loss
from lightning_distill.losses.soft_target import kl_distillation_loss


def test_skd__direction_equals_numpys_mahalanobis_lengths() -> None:
    student, teacher = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    s, t = (z.numpy() / np.linalg.norm(z.numpy(), axis=1, keepdims=True) for z in (student, teacher))
    error = s @ s.T - t @ t.T
    inverse = np.linalg.inv(np.cov(error) + 0.1 * np.eye(5))
    expected = np.mean([np.sqrt(error[:, i] @ inverse @ error[:, i]) for i in range(5)])
    assert skd_loss(student, teacher, instance=0.0).item() == pytest.approx(expected, rel=1e-9)


def test_skd__instance_is_kd_without_the_square() -> None:
    student, teacher = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ours = skd_loss(student, teacher, direction=0.0)
    torch.testing.assert_close(ours, kl_distillation_loss(student, teacher, 4.0) / 16)


def test_skd__one_sample_has_no_direction() -> None:
    student = torch.randn(1, 7, generator=torch.Generator().manual_seed(0), requires_grad=True)
    loss = skd_loss(student, torch.ones(1, 7), instance=0.0)
    loss.backward()
    assert loss < 1e-6
    assert student.grad.abs().max() < 1e-5


def test_skd__rejects_a_ridge_of_0() -> None:
    with pytest.raises(ValueError, match="`tikhonov` to be above 0"):
        SKDLoss(tikhonov=0.0)
