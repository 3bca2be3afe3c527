"""Regression by a log-power distance: what the common suite does not show."""

from __future__ import annotations

import math

import pytest
import torch

from lightning_distill.losses import SRDLoss, srd_loss


def test_value_and_gradient__by_hand() -> None:
    """Differences 1 and -2: log(1 + 16), with the gradient ``4 d^3 / 17``."""
    student = torch.tensor([[1.0], [0.0]], requires_grad=True)
    loss = srd_loss(student, torch.tensor([[0.0], [2.0]]))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(17), rel=1e-6)
    torch.testing.assert_close(student.grad, torch.tensor([[4.0], [-32.0]]) / 17)


@pytest.mark.parametrize("exponent", [1.0, 2.0, 4.0])
def test_scale__adds_its_logarithm(exponent: float) -> None:
    """At 1e12 the fourth power would overflow."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(4, 3, generator=generator) for _ in range(2))
    expected = srd_loss(student, teacher, exponent) + exponent * math.log(1e12)
    torch.testing.assert_close(srd_loss(1e12 * student, 1e12 * teacher, exponent), expected)


def test_agreement__is_finite() -> None:
    student = torch.ones(2, 3, requires_grad=True)
    loss = srd_loss(student, torch.ones(2, 3))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(1e-9) + 4 * math.log(0.1), rel=1e-6)
    assert student.grad is not None
    assert not bool(student.grad.any())


def test_norms__make_the_teachers_scale_and_shift_irrelevant() -> None:
    torch.manual_seed(0)
    loss, student, teacher = SRDLoss(3, 4), torch.randn(8, 3), torch.randn(8, 4)
    torch.testing.assert_close(loss(student, 50 * teacher - 7), loss(student, teacher), rtol=1e-4, atol=1e-4)
    projected = loss.projector(student[:, :, None, None]).flatten(1)
    normed = [(x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt() for x in (projected, teacher)]
    torch.testing.assert_close(loss(student, teacher), srd_loss(*normed))


def test_state__the_projector_is_trained_and_the_norms_remember() -> None:
    loss = SRDLoss(3, 4)
    assert {name for name, _ in loss.named_parameters()} == {"projector.weight", "projector.bias"}
    loss(torch.randn(8, 3), torch.randn(8, 4) + 10)
    fresh = SRDLoss(3, 4)
    fresh.load_state_dict(loss.state_dict())
    assert fresh.teacher_norm.running_mean is not None
    assert bool((fresh.teacher_norm.running_mean > 0.5).all())  # a tenth of 10
    one = torch.ones(1, 3), torch.ones(1, 4)
    torch.testing.assert_close(fresh.eval()(*one), loss.eval()(*one))


def test_bad_input__is_named() -> None:
    with pytest.raises(ValueError, match="`exponent` to be above 0, but got -1"):
        SRDLoss(3, 4, exponent=-1)
    with pytest.raises(ValueError, match=r"`student_features` to have the shape \[B, 3\].*but got \[2, 5\]"):
        SRDLoss(3, 4)(torch.zeros(2, 5), torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"`teacher_features` to have the shape \[B, 4\].*but got \[2, 5\]"):
        SRDLoss(3, 4)(torch.zeros(2, 3), torch.zeros(2, 5))
    with pytest.raises(ValueError, match="same shape"):
        srd_loss(torch.zeros(2, 3), torch.zeros(2, 1))
