"""Classes of unequal size."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from lightning_distill.data import BalancedDraw, EpochSampler, TensorDataModule, class_weights

TARGET = torch.tensor([0] * 64 + [1] * 16 + [2] * 4)


def drawn(target: torch.Tensor, sampler: str, seed: int = 0) -> np.ndarray:
    return BalancedDraw(target, sampler)(np.random.default_rng(seed))


@pytest.mark.parametrize(("sampler", "expected"), [("balanced", [28, 28, 28]), ("sqrt", [48, 24, 12])])
def test_draw__shows_classes_in_their_proportion(sampler: str, expected: list[int]) -> None:
    order = drawn(TARGET, sampler)
    assert len(order) == len(TARGET)
    assert torch.bincount(TARGET[torch.from_numpy(order)]).tolist() == expected


def test_draw__shows_the_samples_of_a_class_equally_often() -> None:
    counts = Counter(drawn(TARGET, "balanced").tolist())
    assert {counts[row] for row in range(80, 84)} == {7}
    assert {counts[row] for row in range(64, 80)} == {1, 2}
    assert max(counts[row] for row in range(64)) == 1


def test_draw__keeps_the_share_of_samples_without_a_label() -> None:
    target = torch.cat([torch.full((30,), -100), torch.tensor([0] * 8 + [1] * 2)])
    shown = target[torch.from_numpy(drawn(target, "balanced"))]
    assert [int((shown == label).sum()) for label in (-100, 0, 1)] == [30, 5, 5]


def test_draw__rounds_every_class_fairly() -> None:
    target = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2])  # 8 / 3 of each
    shown = torch.stack([torch.bincount(target[torch.from_numpy(drawn(target, "balanced", s))]) for s in range(300)])
    assert shown.sum(dim=1).eq(8).all()
    assert set(shown.flatten().tolist()) == {2, 3}
    assert (shown.float().mean(dim=0) - 8 / 3).abs().max() < 0.1


def test_sampler__is_a_function_of_seed_and_epoch_and_shared_by_processes() -> None:
    def share(seed: int, epoch: int, rank: int, ranks: int) -> list[int]:
        draw = BalancedDraw(TARGET, "balanced")
        sampler = EpochSampler(TARGET, shuffle=True, seed=seed, draw=draw, num_replicas=ranks, rank=rank)
        sampler.set_epoch(epoch)
        return list(sampler)

    alone = share(0, 1, 0, 1)
    assert alone == share(0, 1, 0, 1)
    assert len({tuple(share(s, e, 0, 1)) for s in range(2) for e in range(2)}) == 4
    assert [share(0, 1, rank, 2) for rank in range(2)] == [alone[0::2], alone[1::2]]


def test_module__balances_training_only() -> None:
    samples = (torch.arange(84.0).reshape(84, 1), TARGET)
    data = TensorDataModule(samples, samples, num_classes=3, batch_size=84, sampler="balanced")
    assert torch.bincount(next(iter(data.train_dataloader())).target).tolist() == [28, 28, 28]
    assert torch.equal(next(iter(data.val_dataloader())).target, TARGET)


def test_class_weights__are_inverse_frequencies_with_a_mean_of_one() -> None:
    weights = class_weights(TARGET, 3)
    assert weights == pytest.approx([3 * w / 21 for w in (1, 4, 16)])
    assert sum(weights) / 3 == pytest.approx(1)


def test_class_weights__a_class_without_samples_has_none() -> None:
    assert class_weights(torch.tensor([0, 2, 2, -100]), 4) == pytest.approx([4 / 3, 0, 2 / 3, 0])


def test_class_weights__of_the_samples_that_are_trained_on() -> None:
    samples = (torch.zeros(84, 1), TARGET)
    data = TensorDataModule(samples, samples, num_classes=3, train_samples=3)
    assert data.class_weights == [1, 1, 1]
    assert data.full().class_weights == class_weights(TARGET, 3)


@pytest.mark.parametrize(
    ("sampler", "target", "message"),
    [
        ("balance", TARGET, "`sampler` to be one of 'balanced', 'sqrt', but got 'balance'. Did you mean 'balanced'"),
        ("sqrt", torch.rand(84, 3), r"class indices \[N\] as labels for `sampler`, but got torch.float32"),
        ("sqrt", None, "class indices .* but got none"),
    ],
    ids=["name", "soft", "none"],
)
def test_bad_sampler__is_named(sampler: str, target: torch.Tensor | None, message: str) -> None:
    samples = (torch.zeros(84, 1), target)
    with pytest.raises(ValueError, match=message):
        TensorDataModule(samples, samples, num_classes=3, sampler=sampler)
