"""Which samples a process sees, in which order."""

from __future__ import annotations

import random
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lightning_distill.data.sampler import EpochSampler, even_batch_size, process_share


def order(size: int = 20, seed: int = 0, epoch: int = 0, **options: int) -> list[int]:
    sampler = EpochSampler(range(size), shuffle=True, seed=seed, **options)
    sampler.set_epoch(epoch)
    return list(sampler)


def test_shuffled__is_a_function_of_seed_and_epoch() -> None:
    first = order()
    torch.manual_seed(7)
    random.seed(7)
    np.random.seed(7)
    assert order() == first
    assert sorted(first) == list(range(20))
    assert len({tuple(order(seed=s, epoch=e)) for s in range(3) for e in range(3)}) == 9


def test_shuffled__leaves_the_global_generators_alone() -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    expected = torch.rand(1), np.random.rand()
    torch.manual_seed(0)
    np.random.seed(0)
    order()
    assert (torch.rand(1), np.random.rand()) == expected


@pytest.mark.parametrize(("size", "ranks"), [(20, 2), (21, 2), (7, 3), (2, 4)])
def test_shuffled__shares_are_equally_long_and_cover_all(size: int, ranks: int) -> None:
    shares = [order(size, num_replicas=ranks, rank=rank) for rank in range(ranks)]
    assert {len(share) for share in shares} == {-(-size // ranks)}
    counts = Counter(position for share in shares for position in share)
    assert set(counts) == set(range(size))
    assert sum(counts.values()) - size == -size % ranks


@pytest.mark.parametrize(("size", "ranks"), [(20, 2), (21, 2), (7, 3)])
def test_evaluation__counts_every_sample_once(size: int, ranks: int) -> None:
    samplers = [EpochSampler(range(size), shuffle=False, num_replicas=ranks, rank=rank) for rank in range(ranks)]
    assert sorted(position for sampler in samplers for position in sampler) == list(range(size))
    assert [len(sampler) for sampler in samplers] == [len(list(sampler)) for sampler in samplers]


def test_evaluation__no_process_is_left_without_a_sample() -> None:
    samplers = [EpochSampler(range(1), shuffle=False, num_replicas=2, rank=rank) for rank in range(2)]
    assert [list(sampler) for sampler in samplers] == [[0], [0]]


def test_process_share__asks_the_trainer_first() -> None:
    share = {"num_replicas": 4, "rank": 3}
    assert process_share(SimpleNamespace(distributed_sampler_kwargs=share)) == share
    assert process_share(SimpleNamespace(distributed_sampler_kwargs=None)) == {"num_replicas": 1, "rank": 0}
    assert process_share() == {"num_replicas": 1, "rank": 0}


@pytest.mark.parametrize("size", range(1, 60))
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_even_batch_size__gives_all_processes_as_many_batches(size: int, ranks: int) -> None:
    batch = even_batch_size(size, ranks, 4)
    shares = [len(range(rank, size, ranks)) for rank in range(ranks)]
    if size >= ranks:
        assert len({-(-share // batch) for share in shares}) == 1
    assert batch >= 4


def test_with_epoch__every_position_brings_its_epoch() -> None:
    sampler = EpochSampler(range(4), shuffle=True, with_epoch=True)
    sampler.set_epoch(2)
    positions, epochs = zip(*sampler, strict=True)
    assert sorted(positions) == [0, 1, 2, 3]
    assert set(epochs) == {2}


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_repeats__samples_are_seen_thrice_in_an_epoch_of_the_same_length(ranks: int) -> None:
    looks: list[tuple[int, int]] = []
    for rank in range(ranks):
        sampler = EpochSampler(
            range(30), shuffle=True, seed=1, num_replicas=ranks, rank=rank, with_epoch=True, repeats=3
        )
        sampler.set_epoch(2)
        looks += list(sampler)
        assert len(sampler) == 30 // ranks
        if ranks == 3:  # the looks at a sample are spread over the processes
            assert len({position for position, _ in sampler}) == 10
    counts = Counter(position for position, _ in looks)
    assert set(counts.values()) == {3}
    assert len(counts) == 10
    for position in counts:
        assert sorted(view for other, view in looks if other == position) == [6, 7, 8]


def test_repeats__views_of_all_epochs_differ() -> None:
    sampler = EpochSampler(range(4), shuffle=True, with_epoch=True, repeats=2)
    views = set()
    for epoch in range(3):
        sampler.set_epoch(epoch)
        views |= {view for _, view in sampler}
    assert views == set(range(6))
