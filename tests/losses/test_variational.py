"""Variational information distillation: the variance is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lightning_distill.losses import VIDLoss, vid_loss


def test_value__by_hand() -> None:
    mean, teacher = torch.zeros(2, 2), torch.tensor([[2.0, 1.0], [0.0, 3.0]])
    variance = torch.tensor([1.0, 2.0])
    expected = 0.5 * ((4 + 0) / 2 / 1 + (1 + 9) / 2 / 2 + torch.log(torch.tensor(2.0))) / 2
    torch.testing.assert_close(vid_loss(mean, teacher, variance), expected)


@pytest.mark.parametrize("start", [1e-3, 0.5, 5.0, 200.0])
def test_variance__starts_where_it_is_told(start: float) -> None:
    torch.testing.assert_close(VIDLoss(2, 3, initial_variance=start).variance, torch.full((3,), start))


def test_training__finds_the_variance_of_the_teacher() -> None:
    """With nothing to learn from, the best guess is the teacher's own variance per channel."""
    torch.manual_seed(0)
    loss = VIDLoss(1, 2)
    teacher = torch.randn(512, 2, 1, 1) * torch.tensor([0.5, 2.0]).reshape(1, 2, 1, 1)
    student = torch.zeros(512, 1, 1, 1)
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.2)
    for _ in range(150):
        optimizer.zero_grad()
        loss(student, teacher).backward()
        optimizer.step()
    torch.testing.assert_close(loss.variance.detach(), torch.tensor([0.25, 4.0]), rtol=0.15, atol=0.0)


def test_state_dict__carries_the_variance(tmp_path: Path) -> None:
    trained, fresh = VIDLoss(2, 3), VIDLoss(2, 3)
    with torch.no_grad():
        trained.raw_variance.add_(1.0)
    torch.save(trained.state_dict(), tmp_path / "loss.pt")
    fresh.load_state_dict(torch.load(tmp_path / "loss.pt", weights_only=True))
    assert torch.equal(fresh.variance, trained.variance)


def test_bad_input__is_named() -> None:
    with pytest.raises(ValueError, match="`initial_variance` to be above `eps`, 1e-05, but got 0"):
        VIDLoss(2, 3, initial_variance=0.0)
    with pytest.raises(ValueError, match=r"`student_features` to have the shape \[B, 2\].* but got \[1, 4, 2, 2\]"):
        VIDLoss(2, 3)(torch.zeros(1, 4, 2, 2), torch.zeros(1, 3, 2, 2))
    with pytest.raises(ValueError, match="one number for each of the 2 channels"):
        vid_loss(torch.zeros(1, 2), torch.zeros(1, 2), torch.ones(3))
