"""Overhaul of feature distillation: what the common suite does not show."""

from __future__ import annotations

import pytest
import torch

from lightning_distill.losses import OFDLoss, ofd_loss
from lightning_distill.losses.ofd import negative_mean, ofd_margin


def test_value_and_gradient__by_hand() -> None:
    """Margin -0.5: the second is below it where the teacher is negative, and costs nothing."""
    student = torch.tensor([[2.0, -5.0, 1.0, -1.0]], requires_grad=True)
    teacher = torch.tensor([[1.0, -1.0, -1.0, 2.0]])
    margin = torch.full((4,), -0.5)
    loss = ofd_loss(student, teacher, margin, "sum")
    loss.backward()
    assert loss.item() == 1 + 0 + 1.5**2 + 3**2
    assert student.grad is not None
    assert student.grad.tolist() == [[2.0, 0.0, 3.0, -6.0]]
    assert ofd_loss(student, teacher, margin).item() == 12.25 / 4
    assert ofd_loss(student, teacher).item() == (1 + 0 + 4 + 9) / 4  # no margin: the third's target is -1


@pytest.mark.parametrize(("deviation", "mean"), [(1.0, 0.0), (1.5, 0.5), (-0.7, 1.0), (2.0, -3.0)])
def test_margin__is_the_mean_of_the_negative_part(deviation: float, mean: float) -> None:
    x = torch.linspace(-30, 0, 300_001, dtype=torch.float64)
    density = torch.exp(-((x - mean) ** 2) / (2 * deviation**2))
    expected = torch.trapezoid(x * density, x) / torch.trapezoid(density, x)
    margin = ofd_margin(torch.tensor([deviation]).double(), torch.tensor([mean]).double())
    torch.testing.assert_close(margin, expected.reshape(1), rtol=1e-6, atol=0.0)


def test_margin__of_the_batch() -> None:
    """Without fixed margins each channel's is the mean of the teacher's negative values."""
    torch.manual_seed(0)
    student, teacher = torch.randn(4, 2, 3, 3), torch.randn(4, 3, 3, 3)
    expected = torch.stack([values[values < 0].mean() for values in teacher.unbind(1)])
    torch.testing.assert_close(negative_mean(teacher), expected)
    drawn, fixed = OFDLoss(2, 3), OFDLoss(2, 3, [expected])
    fixed.connectors.load_state_dict(drawn.connectors.state_dict())
    torch.testing.assert_close(drawn(student, teacher), fixed(student, teacher))


def test_layers__earlier_ones_count_half() -> None:
    torch.manual_seed(0)
    loss = OFDLoss([2, 2, 2], [3, 3, 3])
    student, teacher = [torch.randn(4, 2, 3, 3) for _ in range(3)], [torch.randn(4, 3, 3, 3) for _ in range(3)]
    parts = [
        ofd_loss(connector(s), t, negative_mean(t))
        for connector, s, t in zip(loss.connectors, student, teacher, strict=True)
    ]
    torch.testing.assert_close(loss(student, teacher), parts[0] / 4 + parts[1] / 2 + parts[2])


def test_margins__are_buffers_of_their_own() -> None:
    margin = torch.tensor([-1.0, -2.0, -3.0])
    loss = OFDLoss(2, 3, [margin])
    margin.zero_()
    assert loss.state_dict()["margin_0"].tolist() == [-1.0, -2.0, -3.0]
    assert "margin_0" not in dict(loss.named_parameters())
    other = OFDLoss(2, 3, [margin])
    other.load_state_dict(loss.state_dict())
    student, teacher = torch.ones(1, 2, 2, 2), -torch.ones(1, 3, 2, 2)
    torch.testing.assert_close(other.eval()(student, teacher), loss.eval()(student, teacher))


def test_bad_input__is_named() -> None:
    with pytest.raises(ValueError, match=r"`margins` to hold \[3\] numbers.*but got \[2\]"):
        OFDLoss(2, 3, [torch.zeros(2)])
    with pytest.raises(ValueError, match="`student_features` to hold 2 features, as at construction, but got 1"):
        OFDLoss([2, 2], [3, 3])(torch.zeros(1, 2, 2, 2), torch.zeros(1, 3, 2, 2))
    with pytest.raises(ValueError, match=r"same shape, but got \[1, 3, 4, 4\] and \[1, 3, 2, 2\]"):
        OFDLoss(2, 3)(torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 2, 2))
    with pytest.raises(ValueError, match="`reduction`"):
        OFDLoss(2, 3, reduction="none")  # type: ignore[arg-type]
