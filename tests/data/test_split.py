"""Choices in which every class keeps its share."""

from __future__ import annotations

import pytest
import torch

from lightning_distill.data import stratified_choice


@pytest.mark.parametrize("size", [3, 10, 31, 59, 60])
def test_choice__keeps_the_shares(size: int) -> None:
    target = torch.tensor([0] * 30 + [1] * 20 + [2] * 10)
    chosen = stratified_choice(target, size, seed=0)
    assert len(chosen) == len(set(chosen.tolist())) == size
    assert chosen.tolist() == sorted(chosen.tolist())
    for count, share in zip(torch.bincount(target[chosen]).tolist(), (1 / 2, 1 / 3, 1 / 6), strict=True):
        assert abs(count - size * share) < 1


def test_choice__a_rare_class_has_one() -> None:
    target = torch.tensor([0] * 98 + [1, 2])
    assert torch.bincount(target[stratified_choice(target, 10, seed=0)]).tolist() == [8, 1, 1]


def test_choice__depends_on_the_seed_alone() -> None:
    target = torch.arange(100) % 4
    first = stratified_choice(target, 20, seed=1)
    torch.manual_seed(3)
    assert torch.equal(first, stratified_choice(target, 20, seed=1))
    assert not torch.equal(first, stratified_choice(target, 20, seed=2))
    assert not torch.equal(first, stratified_choice(target, 20, seed=(1, 2)))


@pytest.mark.parametrize("size", [0, 2, 7])
def test_choice__size_out_of_range(size: int) -> None:
    with pytest.raises(ValueError, match=rf"`size` to be from 3 .* to 6 .* but got {size}"):
        stratified_choice(torch.tensor([0, 1, 2, 0, 1, 2]), size, seed=0)
