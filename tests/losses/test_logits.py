from __future__ import annotations

import torch

import lightning_distill.losses as losses
from lightning_distill.losses.logits import WITHOUT_LABELS, exclude_class, unit_direction
from lightning_distill.losses.precision import full_precision


def test_way_out__names_losses_that_exist() -> None:
    named = [word.strip(",.") for word in WITHOUT_LABELS.split() if "Loss" in word]
    assert len(named) == 8
    assert all(hasattr(losses, name) for name in named)


def test_all__is_sorted_and_complete() -> None:
    assert losses.__all__ == sorted(losses.__all__)
    assert all(hasattr(losses, name) for name in losses.__all__)


def test_exclude_class__difference_of_two_is_finite() -> None:
    index = torch.tensor([[0]])
    a, b = (exclude_class(torch.full((1, 2), value), index).log_softmax(1) for value in (1e4, -1e4))
    assert torch.isfinite(a - b).all()


def test_unit_direction__has_length_1_also_for_tiny_vectors() -> None:
    values = torch.tensor([[3e-18, 4e-18], [3e10, 4e10]])
    torch.testing.assert_close(unit_direction(values), torch.tensor([[0.6, 0.8], [0.6, 0.8]]))


def test_full_precision__turns_autocast_off_inside_only() -> None:
    a = torch.eye(2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with full_precision(a):
            assert (a @ a).dtype == torch.float32
        assert (a @ a).dtype == torch.bfloat16
