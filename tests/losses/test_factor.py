"""Factor transfer: what the common suite does not show."""

from __future__ import annotations

import pytest
import torch

from lightning_distill.losses import FTLoss, ft_loss
from lightning_distill.losses.factor import Paraphraser


def maps(channels: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(4, channels, 3, 2, generator=torch.Generator().manual_seed(seed))


def test_variants__by_hand() -> None:
    """One channel of two positions: unit vectors (0.6, 0.8) and (0.8, 0.6); of the squares, (9, 16) over their norm."""
    student, teacher = torch.tensor([[[[3.0, 4.0]]]]), torch.tensor([[[[4.0, 3.0]]]])
    assert ft_loss(student, teacher).item() == pytest.approx(0.2)
    assert ft_loss(student, teacher, "euclidean").item() == pytest.approx((2 * 0.2**2) ** 0.5)
    assert ft_loss(student, teacher, "attention").item() == pytest.approx(7 / 337**0.5)


@pytest.mark.parametrize("variant", ["paper", "euclidean", "attention"])
def test_scale__of_a_sample_does_not_count(variant: str) -> None:
    student, teacher = maps(3), maps(3, seed=1)
    scales = torch.tensor([0.01, 1.0, 7.0, 100.0]).reshape(4, 1, 1, 1)
    expected = ft_loss(student, teacher, variant)  # type: ignore[arg-type]
    torch.testing.assert_close(ft_loss(scales * student, teacher, variant), expected)  # type: ignore[arg-type]


def test_trained_paraphraser__is_frozen() -> None:
    paraphraser = Paraphraser(5)
    loss = FTLoss(3, 5, paraphraser=paraphraser)
    assert loss.paraphraser is paraphraser
    assert {n.split(".")[0] for n, p in loss.named_parameters() if p.requires_grad} == {"translator"}
    assert any(name.startswith("paraphraser.encoder") for name in loss.state_dict())
    expected = ft_loss(loss.translator(maps(3)), paraphraser(maps(5)))
    torch.testing.assert_close(loss(maps(3), maps(5)), expected)


def test_paraphraser_trained_along__learns_to_reconstruct_only() -> None:
    torch.manual_seed(0)
    loss = FTLoss(3, 5)
    loss(maps(3), maps(5)).backward()
    got = [p.grad.clone() for p in loss.paraphraser.parameters() if p.grad is not None]
    alone = torch.autograd.grad(loss.paraphraser.reconstruction_loss(maps(5)), list(loss.paraphraser.parameters()))
    assert len(got) == len(alone)
    for ours, theirs in zip(got, alone, strict=True):
        torch.testing.assert_close(ours, theirs)
    transfer = ft_loss(loss.translator(maps(3)), loss.paraphraser(maps(5)))
    torch.testing.assert_close(loss(maps(3), maps(5)), transfer + loss.paraphraser.reconstruction_loss(maps(5)))


def test_rate__sets_the_channels_of_the_factor() -> None:
    assert Paraphraser(8, rate=0.25)(torch.zeros(1, 8, 3, 3)).shape == (1, 2, 3, 3)
    assert Paraphraser(8, rate=0.01).factor_channels == 1
    assert FTLoss(3, 8, rate=0.75).translator(torch.zeros(2, 3, 3, 3)).shape == (2, 6, 3, 3)


def test_bad_input__is_named() -> None:
    with pytest.raises(ValueError, match="`variant` to be one of 'paper', 'euclidean', 'attention', but got 'l1'"):
        FTLoss(3, 5, variant="l1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`rate` to be above 0, but got 0"):
        Paraphraser(5, rate=0)
    with pytest.raises(ValueError, match=r"`teacher_features` to have the shape \[B, 5\].*but got \[4, 3, 3, 2\]"):
        FTLoss(3, 5)(maps(3), maps(3))
    with pytest.raises(ValueError, match="`student_features` and `teacher_features` to have the same shape"):
        ft_loss(maps(3), maps(5))
