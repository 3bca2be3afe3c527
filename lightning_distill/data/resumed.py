"""A data loader that goes on in the middle of an epoch."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import islice
from typing import Any

from torch.utils.data import DataLoader, IterableDataset


class SkipFirst:
    """A sampler, or a batch sampler, whose passes leave out the first ``count`` entries while that is above 0.

    Example:
        >>> sampler = SkipFirst([[0, 1], [2, 3], [4]], count=2)
        >>> list(sampler)
        [[4]]
    """

    def __init__(self, sampler: Any, count: int) -> None:
        self.inner = sampler
        self.count = count

    def __iter__(self) -> Iterator[Any]:
        return islice(iter(self.inner), self.count, None)

    def __len__(self) -> int:
        return len(self.inner)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class LaterStart:
    """A loader whose first pass starts at batch ``count``; the batches before it are not loaded.

    The position is the Trainer's, not the loader's own: worker processes are ahead of what has been trained on. A
    stream (``IterableDataset``) is read from its start, and its first batches are thrown away.

    Args:
        loader: What the data module gave.
        count: How many batches to leave out.

    Example:
        >>> loader = LaterStart(DataLoader(range(6), batch_size=2), count=1)
        >>> [batch.tolist() for batch in loader], len(loader), len(list(loader))
        ([[2, 3], [4, 5]], 3, 3)
    """

    def __init__(self, loader: Any, count: int) -> None:
        self.inner = loader
        self.count = count
        self._sampler: SkipFirst | None = None
        if isinstance(loader, DataLoader) and not isinstance(loader.dataset, IterableDataset):
            self.inner, self._sampler = skipping(loader)

    def __iter__(self) -> Iterator[Any]:
        count, self.count = self.count, 0
        if self._sampler is None:
            return islice(iter(self.inner), count, None)
        self._sampler.count = count
        iterator: Iterator[Any] = iter(self.inner)
        self._sampler.count = 0  # the iterator has started its pass
        return iterator

    def __len__(self) -> int:
        return len(self.inner)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class ResumedLoader(LaterStart):
    """A :class:`LaterStart` in which the order of the samples is known: what is left is what would have come.

    It has a ``state_dict``, by which Lightning knows loaders that can be resumed; there is nothing in it.
    """

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to load: the position comes from the Trainer."""


def starting_at(loader: Any, batches: int) -> LaterStart:
    """The loader from a batch on. Of one whose order is not known Lightning warns that it cannot be resumed."""
    count = batches % len(loader) if hasattr(loader, "__len__") and len(loader) > 0 else batches
    return ResumedLoader(loader, count) if order_is_known(loader) else LaterStart(loader, count)


def set_epoch(loader: Any, epoch: int) -> None:
    """Tell a loader's samplers which epoch it is, those that want to know."""
    for owner in (loader, getattr(loader, "batch_sampler", None)):
        sampler: Any = getattr(owner, "sampler", None)
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(epoch)


def order_is_known(loader: Any) -> bool:
    """Whether the order of the samples is a function of the epoch, not of how many numbers were drawn before."""
    sampler = getattr(loader, "sampler", None)
    return hasattr(sampler, "set_epoch") or type(sampler).__name__ == "SequentialSampler"


def skipping(loader: DataLoader[Any]) -> tuple[DataLoader[Any], SkipFirst]:
    """The same loader with a sampler that can leave out what comes first, and that sampler."""
    resumed = copy.copy(loader)
    name = "sampler" if loader.batch_sampler is None else "batch_sampler"
    # Past DataLoader's own setter, which refuses: its other attributes do not depend on this one.
    vars(resumed)[name] = sampler = SkipFirst(getattr(loader, name), 0)
    resumed._iterator = None  # worker processes that stay would go on with the order they were given
    return resumed, sampler
