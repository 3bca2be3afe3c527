"""A data module's training samples as the teacher is to see them, in the order in which they are stored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch.utils.data import DataLoader

from lightning_distill.checks import check_choice
from lightning_distill.data.module import by_hand
from lightning_distill.engine import pl
from lightning_distill.teachers.store.header import VIEWS
from lightning_distill.types import Batch, as_batch, batch_size_of


def varies(data: pl.LightningDataModule) -> bool:
    """Whether a training sample looks different from epoch to epoch: augmented, or cropped at random when decoded."""
    view = getattr(getattr(data, "train_dataset", None), "view", None)
    return getattr(data, "augment", None) is not None or getattr(view, "random_crop", None) is not None


class Views:
    """What the training loader would give, in the order of the data set instead of a random one.

    The loader's own data set, workers and ``collate_fn`` are used, so the images are those that the student gets.

    Args:
        data: Its training loader has a data set with positions; where its sampler has ``with_epoch``, an index is
            ``(position, epoch)`` and gives the very view of that epoch.
        view: ``"augmented"``, or ``"clean"`` for images that are not augmented.

    Raises:
        ValueError: If ``view`` is neither, or the data set has no length.
    """

    def __init__(self, data: pl.LightningDataModule, view: str) -> None:
        check_choice("view", view, VIEWS)
        loader: Any = by_hand(data).train_dataloader()
        if not isinstance(loader, DataLoader) or not hasattr(loader.dataset, "__len__"):
            raise ValueError(
                f"Expected the training loader of {type(data).__name__} to be a DataLoader over a data set with a "
                f"length, since a store numbers its samples, but got {type(loader).__name__}."
            )
        self._loader = loader
        self._by_epoch = view == "augmented"
        if self._by_epoch and not getattr(loader.sampler, "with_epoch", False):
            raise ValueError(
                f"Expected the training loader of {type(data).__name__} to serve the view of an epoch for an index "
                "(position, epoch), which its sampler says by `with_epoch = True`, but it does not: its views could "
                "not be made again. Let the teacher see the images as they are: view='clean'"
            )
        self.samples = len(loader.dataset)
        self.batch_size = loader.batch_size or 1

    def rows(self, block: range, epochs: int, start: int = 0) -> Iterator[Batch]:
        """The samples of ``block``, once for each epoch, in batches; the first ``start`` rows are left out."""
        cuts = [*range(0, len(block), self.batch_size), len(block)]

        def batches() -> Iterator[Sequence[Any]]:
            for epoch in range(start // len(block), epochs):
                skipped = max(0, start - epoch * len(block))
                for first, end in pairwise(cuts):
                    positions = block[max(first, skipped) : max(end, skipped)]
                    if positions:
                        yield [(position, epoch) for position in positions] if self._by_epoch else list(positions)

        order: Any = _Order(batches)
        loader: DataLoader[Any] = DataLoader(
            self._loader.dataset,
            batch_sampler=order,
            collate_fn=self._loader.collate_fn,
            num_workers=self._loader.num_workers,
            # A loader draws one number per pass: from here, so that the global generator is left as it is.
            generator=torch.Generator(),
        )
        for positions, content in zip(batches(), loader, strict=True):
            batch = as_batch(content)
            if batch_size_of(batch.inputs) != len(positions):
                raise ValueError(
                    f"Expected every training sample to be readable, since a store has a place for each, but got "
                    f"{batch_size_of(batch.inputs)} of {len(positions)} in a batch. Remove those that are not, instead "
                    "of skipping them."
                )
            yield batch


class _Order:
    """Indices of whole batches, made as they are asked for."""

    def __init__(self, batches: Any) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[Sequence[Any]]:
        return iter(self._batches())
