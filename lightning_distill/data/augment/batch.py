"""Whole batches augmented at once; each view is a function of (seed, epoch, sample id)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import ClassVar, Protocol

from torch import Tensor

from lightning_distill.data.augment.geometry import Geometry, move_pixels
from lightning_distill.data.augment.keyed import Keyed
from lightning_distill.data.augment.keys import Draws
from lightning_distill.types import describe

VERSION = 1  # of the views: it counts in the fingerprint, so raise it where the same keys give another view


class Augmentation(Protocol):
    """Makes the views that a network is trained on."""

    def __call__(self, images: Tensor, sample_ids: Tensor, epoch: int | Tensor) -> Tensor:
        """The views ``[B, C, H', W']`` of ``images`` ``[B, C, H, W]``.

        Args:
            images: Of any dtype, on any device.
            sample_ids: ``[B]`` integers, on the same device.
            epoch: One for all samples, or ``[B]``.
        """

    def fingerprint(self) -> str:
        """A hash of everything that decides a view besides epoch and sample."""


class Operation(Protocol):
    """A change of pixels ``[B, C, H, W]`` that needs ``draws`` random numbers for each sample."""

    draws: ClassVar[int]

    def __call__(self, images: Tensor, draws: Draws) -> Tensor: ...


class BatchAugmentation:
    """Operations on a whole batch, one after the other.

    A sample's view does not depend on the other samples of the batch, their order, the process or the device. Crops and
    flips move pixels without arithmetic: their views are equal to the last bit wherever they are made.

    Args:
        operations: Crops and flips (:class:`~lightning_distill.data.augment.geometry.Geometry`), of which neighbours
            are done in one step, and other :class:`Operation`.
        seed: Decides all views.

    Raises:
        TypeError: If an operation is none.

    Example:
        >>> import torch
        >>> from lightning_distill.data.augment import RandomFlip
        >>> augment = BatchAugmentation([RandomFlip()], seed=0)
        >>> augment(torch.arange(3.0).expand(4, 1, 1, 3), sample_ids=torch.arange(4), epoch=0)[:, 0, 0].tolist()
        [[2.0, 1.0, 0.0], [2.0, 1.0, 0.0], [2.0, 1.0, 0.0], [0.0, 1.0, 2.0]]
    """

    def __init__(self, operations: Sequence[Geometry | Operation], seed: int = 0) -> None:
        for operation in operations:
            if not hasattr(operation, "draws") or not (isinstance(operation, Geometry) or callable(operation)):
                raise TypeError(f"Expected `operations` to hold operations on batches, but got {describe(operation)}.")
        self.operations = tuple(operations)
        self.seed = seed

    def __call__(self, images: Tensor, sample_ids: Tensor, epoch: int | Tensor) -> Tensor:
        if images.ndim != 4:
            raise ValueError(f"Expected `images` to be [B, C, H, W], but got {describe(images)}.")
        counts = [operation.draws for operation in self.operations]
        draws = Draws.of(self.seed, epoch, sample_ids, sum(counts)).split(counts)
        moves: list[tuple[Geometry, Draws]] = []
        for operation, own in zip(self.operations, draws, strict=True):
            if isinstance(operation, Geometry):
                moves.append((operation, own))
                continue
            images, moves = operation(move_pixels(images, moves), own), []
        return move_pixels(images, moves)

    @property
    def vectorized(self) -> bool:
        """Whether all images of a batch are changed at once: worth doing on an accelerator."""
        return not any(isinstance(operation, Keyed) for operation in self.operations)

    def fingerprint(self) -> str:
        return hashlib.sha256(repr((VERSION, self.operations, self.seed)).encode()).hexdigest()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self.operations)}, seed={self.seed})"
