"""Which samples a process sees, in which order: a function of (seed, epoch, rank) and of nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sized
from typing import Any

import numpy as np
import torch.distributed as dist
from torch.utils.data.distributed import DistributedSampler


class EpochSampler(DistributedSampler[int]):
    """Positions of one process's share of a data set.

    Shuffled, the order depends on ``(seed, epoch)`` alone, so a resumed run sees what an uninterrupted one would have
    seen; Lightning calls ``set_epoch``. All processes get equally many positions then: where they do not come out
    even, a few samples of the epoch are seen twice.

    Not shuffled (validation, test), every sample is seen exactly once over all processes, so that metrics are exact:
    the shares may differ by one sample. With fewer samples than processes, samples are repeated.

    It is a ``DistributedSampler`` also where there is one process: Lightning leaves those alone.

    Args:
        dataset: Anything with a length.
        shuffle: Whether every epoch has its own order.
        seed: Not below 0.
        num_replicas: Number of processes.
        rank: This process, from 0.
        draw: Gives an epoch's positions ``[N]`` for a generator; every position once, in random order, if not given.
        with_epoch: Yield ``(position, view)``, for samples that look different whenever they are seen. The view is the
            epoch; with ``repeats`` it is ``epoch * repeats`` for the first look of an epoch, one more for the next.
        repeats: Show samples this often in a row, and so many times fewer of them in an epoch, which stays as long:
            repeated augmentation (https://arxiv.org/abs/1901.09335). With several processes the looks at a sample are
            spread over them.

    Example:
        >>> sorted(EpochSampler(range(5), shuffle=False, num_replicas=2, rank=1))
        [1, 3]
    """

    def __init__(
        self,
        dataset: Sized,
        *,
        shuffle: bool,
        seed: int = 0,
        num_replicas: int = 1,
        rank: int = 0,
        draw: Callable[[np.random.Generator], np.ndarray] | None = None,
        with_epoch: bool = False,
        repeats: int = 1,
    ) -> None:
        super().__init__(dataset, num_replicas, rank, shuffle, seed)  # type: ignore[arg-type]
        self.draw = draw
        self.with_epoch = with_epoch
        self.repeats = repeats
        if not shuffle and len(dataset) >= num_replicas:
            self.total_size = len(dataset)
            self.num_samples = len(range(rank, len(dataset), num_replicas))

    def __iter__(self) -> Iterator[Any]:
        share = slice(self.rank, None, self.num_replicas)
        order = self._order()[share].tolist()
        if not self.with_epoch:
            return iter(order)
        views = self.epoch * self.repeats + np.arange(self.total_size)[share] % self.repeats
        return zip(order, views.tolist(), strict=True)

    def _order(self) -> np.ndarray:
        """The positions of all processes; they repeat from the start where more are asked for."""
        size = len(self.dataset)  # type: ignore[arg-type]
        if not self.shuffle:
            return np.resize(np.arange(size), self.total_size)
        # A sequence as the seed is hashed: neighbouring seeds and epochs have nothing in common, whereas torch's own
        # `seed + epoch` makes epoch 1 of seed 0 the same order as epoch 0 of seed 1.
        generator = np.random.default_rng((self.seed, self.epoch))
        order = generator.permutation(size) if self.draw is None else self.draw(generator)
        return np.resize(np.repeat(order, self.repeats), self.total_size)


def process_share(trainer: Any = None) -> dict[str, Any]:
    """``num_replicas`` and ``rank`` of this process: what the trainer says, or torch.distributed, or one process."""
    if trainer is not None:
        # The strategy knows better than the global rank: under tensor parallelism several processes share their data.
        return trainer.distributed_sampler_kwargs or {"num_replicas": 1, "rank": 0}
    if dist.is_available() and dist.is_initialized():
        return {"num_replicas": dist.get_world_size(), "rank": dist.get_rank()}
    return {"num_replicas": 1, "rank": 0}


def even_batch_size(size: int, num_replicas: int, batch_size: int) -> int:
    """The smallest batch size from ``batch_size`` on with which shares that differ by one need equally many batches.

    A strategy that communicates in every forward pass (FSDP) would wait for ever for a process that has none left.

    Example:
        >>> even_batch_size(257, 2, 64)  # shares of 129 and 128: 3 and 2 batches of 64, but 2 and 2 of 65
        65
    """
    share, rest = divmod(size, num_replicas)
    while rest and share and share % batch_size == 0:
        batch_size += 1
    return batch_size
