"""Attention transfer."""

from __future__ import annotations

import pytest
import torch

from lightning_distill.losses import AffinityLoss, ATLoss, affinity_loss, at_loss
from lightning_distill.losses.attention import attention_map


def test_map__is_the_mean_power_over_channels_as_a_unit_vector() -> None:
    features = torch.tensor([[[[3.0, 1.0]], [[-1.0, 1.0]]]])  # squares 10 and 2 at the two positions
    torch.testing.assert_close(attention_map(features), torch.tensor([[10.0, 2.0]]) / 104**0.5)


def test_variants__by_hand() -> None:
    """Two positions, opposite attention: each sample's difference is (1, -1)."""
    student = torch.tensor([[[[1.0, 0.0]]], [[[1.0, 0.0]]]])
    teacher = torch.tensor([[[[0.0, 5.0]]], [[[2.0, 0.0]]]])
    assert float(at_loss(student, teacher)) == pytest.approx((1 + 1) / 4)
    assert float(at_loss(student, teacher, variant="paper")) == pytest.approx(2**0.5 / 2)


def test_layers__are_added_up() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(2, 3, 4, 4, generator=generator) for _ in range(2))
    third, fourth = (torch.randn(2, 5, 2, 2, generator=generator) for _ in range(2))
    torch.testing.assert_close(
        at_loss([first, third], [second, fourth]), at_loss(first, second) + at_loss(third, fourth)
    )


def test_larger_maps__are_averaged_to_the_smaller() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 3, 2, 4, generator=generator), torch.randn(2, 5, 4, 4, generator=generator)
    pooled = torch.nn.functional.adaptive_avg_pool2d(teacher, (2, 4))
    torch.testing.assert_close(ATLoss()(student, teacher), at_loss(student, pooled))


def test_channels_last__gives_the_same() -> None:
    student, teacher = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(
        at_loss(student.to(memory_format=torch.channels_last), teacher), at_loss(student, teacher)
    )


def test_bad_input__is_named() -> None:
    with pytest.raises(ValueError, match=r"`student_features` to have the shape \[B, C, H, W\], but got \[2, 3\]"):
        at_loss(torch.zeros(2, 3), torch.zeros(2, 3, 1, 1))
    with pytest.raises(ValueError, match="as many samples, but got 2 and 3"):
        at_loss(torch.zeros(2, 3, 1, 1), torch.zeros(3, 3, 1, 1))
    with pytest.raises(ValueError, match="`variant`"):
        ATLoss(variant="article")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`power`"):
        ATLoss(power=0)


def test_affinity__equals_the_matrices_it_does_not_build() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(2, 3, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    unit = torch.nn.functional.normalize
    ours, theirs = unit(student, dim=2), unit(teacher, dim=2)
    difference = ours.unsqueeze(3) * ours.unsqueeze(2) - theirs.unsqueeze(3) * theirs.unsqueeze(2)
    expected = difference.flatten(2).norm(dim=2).sum(dim=1).mean() / 4
    torch.testing.assert_close(AffinityLoss()(student, teacher), expected)


def test_affinity__a_dead_channel_is_at_distance_one() -> None:
    student, teacher = torch.zeros(1, 1, 1, 2), torch.tensor([[[[3.0, 4.0]]]])
    assert float(affinity_loss(student, teacher)) == pytest.approx(1 / 2)
