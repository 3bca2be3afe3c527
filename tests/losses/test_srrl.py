"""Softmax regression representation learning: what the common suite does not show."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lightning_distill.losses import SRRLLoss, srrl_loss


def adding_head() -> nn.Linear:
    """One class, whose logit is the sum of two features."""
    head = nn.Linear(2, 1, bias=False)
    nn.init.ones_(head.weight)
    return head


def repeating(beta: float) -> SRRLLoss:
    """A connector that gives out what comes in, if positive: BatchNorm in eval mode, as at the start."""
    loss = SRRLLoss(2, 2, adding_head(), beta).eval()
    nn.init.dirac_(loss.connector[0].weight)
    return loss


def test_value__by_hand() -> None:
    """Features differ by (1, 1) and logits by 2; negative values do not pass the connector."""
    student, teacher = torch.tensor([[2.0, -7.0]]), torch.tensor([[1.0, -1.0]])
    assert repeating(0.0)(student, teacher).item() == pytest.approx((1 + 1) / 2, rel=1e-4)
    assert repeating(5.0)(student, teacher).item() == pytest.approx(1 + 5 * 2**2, rel=1e-4)
    assert srrl_loss(torch.tensor([[2.0]]), torch.tensor([[1.0]]), torch.ones(1, 2), -torch.ones(1, 2), 0.5) == 1 + 2


def test_maps__are_averaged_as_the_classifier_reads_them() -> None:
    """The student's average, (2, 1), and the teacher's, over other positions, are equal."""
    student = torch.tensor([[[[1.0, 3.0]], [[0.0, 2.0]]]])
    teacher = torch.tensor([[[[2.0, 2.0], [0.0, 4.0]], [[1.0, 1.0], [1.0, 1.0]]]])
    assert repeating(5.0)(student, teacher).item() == pytest.approx(0.0, abs=1e-6)


def test_flattened_maps__keep_their_positions() -> None:
    loss = SRRLLoss(2, 2, nn.Linear(4, 3, bias=False)).eval()
    nn.init.dirac_(loss.connector[0].weight)
    maps = torch.tensor([[[[1.0, 3.0]], [[0.0, 2.0]]]])
    assert loss.connect(maps).shape == (1, 4)
    assert loss(maps, maps.flip(3)).item() > 1  # the averages are equal, the positions are not


def test_state__the_head_is_frozen_and_passes_the_gradient_on() -> None:
    torch.manual_seed(0)
    loss = SRRLLoss(3, 4, nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 5)))
    loss.train()
    assert not any(module.training for module in loss.teacher_head.head.modules() if isinstance(module, nn.Dropout))
    assert {n.split(".")[0] for n, p in loss.named_parameters() if p.requires_grad} == {"connector"}
    assert "connector.1.running_var" in loss.state_dict()
    student = torch.randn(6, 3, requires_grad=True)
    connected, teacher = loss.connect(student), torch.randn(6, 4)
    srrl_loss(teacher, teacher, loss.teacher_head(connected), torch.randn(6, 5)).backward()
    assert student.grad is not None
    assert bool(student.grad.any())
    assert all(p.grad is None for p in loss.teacher_head.parameters())


def test_bad_input__is_named() -> None:
    with pytest.raises(ValueError, match="`teacher_head` 7 numbers per sample, but got 4"):
        SRRLLoss(3, 4, nn.Linear(7, 5))(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"`student_features` to have the shape \[B, 3\].*but got \[2, 5\]"):
        SRRLLoss(3, 4, nn.Linear(4, 5))(torch.zeros(2, 5), torch.zeros(2, 4))
    with pytest.raises(ValueError, match="same shape"):
        srrl_loss(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(2, 4), torch.zeros(2, 5))
