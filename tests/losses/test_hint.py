"""Hints: what the common suite does not show."""

from __future__ import annotations

import pytest
import torch

from lightning_distill.adapters import build_adapter
from lightning_distill.losses import HintLoss, hint_loss


def test_value_and_gradient__by_hand() -> None:
    student = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    loss = hint_loss(student, torch.tensor([[1.0, 0.0], [0.0, 4.0]]))
    loss.backward()
    assert loss.item() == pytest.approx((4 + 9) / 4)
    torch.testing.assert_close(student.grad, torch.tensor([[0.0, 4.0], [6.0, 0.0]]) / 4)


@pytest.mark.parametrize("shape", [(6,), (2, 3), (2, 3, 4), (2, 3, 4, 5)])
def test_any_shape__is_a_mean_over_elements(shape: tuple[int, ...]) -> None:
    assert float(HintLoss()(torch.full(shape, 2.0), torch.full(shape, -1.0))) == 9.0


def test_half_precision__does_not_overflow() -> None:
    """The square, 90000, is above the largest number of float16."""
    student, teacher = torch.full((2, 2), 300.0).half(), torch.zeros(2, 2, dtype=torch.float64)
    loss = hint_loss(student, teacher)
    assert loss.dtype == torch.float32
    assert float(loss) == 90000.0


def test_regressor__holds_what_is_trained() -> None:
    """FitNets' recipe: the loss has no state; convolution and BatchNorm belong to the adapter."""
    assert HintLoss().state_dict() == {}
    torch.manual_seed(0)
    adapter = build_adapter("fitnet", (2, 3, 4, 4), (2, 5, 2, 2))
    student, teacher = torch.randn(2, 3, 4, 4), torch.rand(2, 5, 2, 2)
    optimizer = torch.optim.SGD(adapter.parameters(), lr=0.5)
    first = hint_loss(adapter(student), teacher)
    for _ in range(20):
        loss = hint_loss(adapter(student), teacher)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.5 * first.item()


@pytest.mark.parametrize("shape", [(2, 1), (1, 3), (3,), (2, 4)])
def test_other_shape__is_not_broadcast(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="`student` and `teacher` to have the same shape, but got"):
        hint_loss(torch.zeros(shape), torch.zeros(2, 3))
