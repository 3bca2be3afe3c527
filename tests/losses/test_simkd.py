"""Reusing the teacher's classifier: what the common suite does not show."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightning_distill.losses import SimKDLoss, simkd_loss
from lightning_distill.losses.simkd import SimKDProjector, match_sizes


def test_value__by_hand() -> None:
    """The larger map is averaged to 3; the square of the averages counts, not the average of squares."""
    small, large = torch.full((1, 1, 1, 1), 5.0), torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])
    assert simkd_loss(small, large).item() == 4.0
    assert simkd_loss(large, small).item() == 4.0


def test_sizes__the_smaller_of_each_side() -> None:
    wide, high = torch.arange(8.0).reshape(1, 1, 2, 4), torch.zeros(1, 1, 4, 2)
    first, second = match_sizes(wide, high)
    assert first.tolist() == [[[[0.5, 2.5], [4.5, 6.5]]]]
    assert second.shape == (1, 1, 2, 2)


def test_student__is_averaged_before_the_projection() -> None:
    torch.manual_seed(0)
    loss = SimKDLoss(3, 4, nn.Linear(4, 5)).eval()
    student, teacher = torch.randn(2, 3, 4, 4), torch.randn(2, 4, 2, 2)
    expected = F.mse_loss(loss.projector(F.adaptive_avg_pool2d(student, 2)), teacher)
    torch.testing.assert_close(loss(student, teacher), expected)


def test_predict__is_the_teachers_classifier_on_the_average() -> None:
    torch.manual_seed(0)
    head = nn.Linear(4, 5)
    loss = SimKDLoss(3, 4, head).eval()
    student = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(loss.predict(student), head(loss.projector(student).mean(dim=(2, 3))))


def test_state__only_the_projector_is_trained() -> None:
    loss = SimKDLoss(3, 8, nn.Linear(8, 5))
    assert {n.split(".")[0] for n, p in loss.named_parameters() if p.requires_grad} == {"projector"}
    assert {"projector.7.running_mean", "teacher_head.head.weight"} <= set(loss.state_dict())  # both are deployed


def test_factor__narrows_the_middle() -> None:
    assert SimKDProjector(3, 8)[3].weight.shape == (4, 4, 3, 3)
    assert SimKDProjector(3, 8, factor=4)[3].weight.shape == (2, 2, 3, 3)
    assert SimKDProjector(3, 8, factor=99)[3].weight.shape == (1, 1, 3, 3)


def test_bad_input__is_named() -> None:
    loss = SimKDLoss(3, 4, nn.Linear(4, 5))
    with pytest.raises(ValueError, match=r"`student_features` to have the shape \[B, 3\].*but got \[2, 5, 2, 2\]"):
        loss(torch.zeros(2, 5, 2, 2), torch.zeros(2, 4, 2, 2))
    with pytest.raises(ValueError, match="`student_features` and `teacher_features` to have the same shape"):
        loss(torch.zeros(2, 3, 2, 2), torch.zeros(2, 6, 2, 2))
    with pytest.raises(ValueError, match="`teacher_head` 7 numbers per sample, but got 4"):
        SimKDLoss(3, 4, nn.Linear(7, 5)).predict(torch.zeros(2, 3, 2, 2))
