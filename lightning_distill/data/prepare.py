"""From stored samples to what the networks see: floats, augmented, normalised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_distill.types import Batch, describe

PIXEL_RANGE = 255.0  # of uint8 images


class Augment(Protocol):
    """Changes training images; a function of (its seed, epoch, sample id) and of nothing else."""

    def __call__(self, images: Tensor, sample_ids: Tensor, epoch: int) -> Tensor:
        """Images ``[B, C, H, W]``, in [0, 1] where they are stored as uint8, and not normalised yet."""

    def fingerprint(self) -> str:
        """A hash of everything that decides what comes out."""


class Samples(Protocol):
    """What a data module needs from a set of samples."""

    @property
    def target(self) -> Tensor | None:
        """Labels ``[N, ...]``; -100 where a sample has none."""

    @property
    def sample_ids(self) -> Tensor:
        """Ids ``[N]``, integers from 0."""

    def __len__(self) -> int:
        """Number of samples."""

    def read(self, positions: Tensor, epoch: int | None) -> Batch:
        """The samples at ``positions``; an epoch asks for its own random view of them where there is one."""

    def example(self) -> Batch:
        """The first two samples, as they are in validation."""

    def subset(self, positions: Tensor) -> Samples:
        """The samples at ``positions`` with their labels and ids."""

    def fingerprint(self) -> str:
        """A hash that changes with the samples."""


class Prepare:
    """uint8 to floats in [0, 1], then the augmentation, then ``(image - mean) / std``.

    Inputs that are a mapping are left alone, and floats are not rescaled.

    Args:
        mean: One per channel, subtracted; ``None`` for no normalisation.
        std: One per channel, above 0.
        augment: Applied where an epoch is given.

    Raises:
        ValueError: If there is only one of ``mean`` and ``std``, they differ in length, or a ``std`` is not above 0.

    Example:
        >>> prepare = Prepare(mean=[0.5], std=[0.25])
        >>> prepare(Batch(torch.full((1, 1, 1, 1), 255, dtype=torch.uint8)), epoch=None).inputs
        tensor([[[[2.]]]])
    """

    def __init__(
        self, mean: Sequence[float] | None = None, std: Sequence[float] | None = None, augment: Augment | None = None
    ) -> None:
        if (mean is None) != (std is None) or (
            mean is not None and std is not None and (len(mean) != len(std) or not len(mean) or min(std) <= 0)
        ):
            raise ValueError(
                f"Expected `mean` and `std` to hold one number per channel each, every `std` above 0, but got {mean} "
                f"and {std}. Leave both at None for images that are not to be normalised."
            )
        self.mean = None if mean is None else torch.tensor(mean, dtype=torch.float32).reshape(-1, 1, 1)
        self.std = None if std is None else torch.tensor(std, dtype=torch.float32).reshape(-1, 1, 1)
        self.augment = augment

    def __call__(self, batch: Batch, epoch: int | None) -> Batch:
        images = as_floats(batch.inputs)
        if self.augment is not None and epoch is not None:
            images = self.augment(images, batch.sample_ids, epoch)  # type: ignore[arg-type] # our samples have ids
        return batch._replace(inputs=self.normalize(images), teacher_input=as_floats(batch.teacher_input))

    def normalize(self, images: Any) -> Any:
        """``(images - mean) / std`` per channel."""
        if self.mean is None or self.std is None:
            return images
        if self.mean.device != images.device:
            self.mean, self.std = self.mean.to(images.device), self.std.to(images.device)
        return (images - self.mean).div_(self.std)

    def check(self, inputs: Any, teacher_input: Any) -> None:
        """Raise if these inputs cannot be prepared.

        Raises:
            ValueError: If images are asked for and these are none, or their channels are not those of ``mean``.
        """
        wanted = "augment" if self.augment is not None else "mean" if self.mean is not None else None
        if wanted is None:
            return
        if not isinstance(inputs, Tensor) or inputs.ndim != 4:
            raise ValueError(
                f"Expected inputs to be images [N, C, H, W] where `{wanted}` is set, but got {describe(inputs)}. Leave "
                f"`{wanted}` at None for other inputs."
            )
        if self.mean is not None and len(self.mean) not in (1, inputs.shape[1]):
            raise ValueError(
                f"Expected `mean` and `std` to hold one number for each of the {inputs.shape[1]} channels, but got "
                f"{len(self.mean)}."
            )
        if self.augment is not None and teacher_input is not None:
            raise ValueError(
                "Expected no `augment` where samples bring a `teacher_input`, since the teacher would see another view "
                "than the student. Leave `augment` at None."
            )


def as_floats(inputs: Any) -> Any:
    """uint8 tensors as float32 in [0, 1]; everything else as it is."""
    if isinstance(inputs, Tensor) and inputs.dtype == torch.uint8:
        return inputs.float().div_(PIXEL_RANGE)
    return inputs


class PreparedDataset(Dataset[Batch]):
    """What a loader serves: prepared batches.

    Args:
        samples: Where they come from.
        prepare: What is done to them; ``None`` for nothing yet.

    An index is a position, or ``(position, epoch)`` where the samples of an epoch have their own random view: the
    epoch travels with the index because a worker process has no other way to know it. Where samples are repeated, a
    batch holds several: all first looks come before all second looks, so that no sample is mixed with itself.
    """

    def __init__(self, samples: Samples, prepare: Prepare | None) -> None:
        self.samples = samples
        self.prepare = prepare

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int | tuple[int, int]) -> Batch:
        """The batch of one sample."""
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int] | Sequence[tuple[int, int]] | Any) -> Batch:
        where = torch.tensor(indices)
        if where.ndim == 1:
            return self._at(where, None)
        where, epochs = where.T
        return join([self._at(where[epochs == epoch], epoch) for epoch in epochs.unique().tolist()])

    def _at(self, where: Tensor, epoch: int | None) -> Batch:
        batch = self.samples.read(where, epoch)
        return batch if self.prepare is None else self.prepare(batch, epoch)


def join(batches: Sequence[Batch]) -> Batch:
    """Several batches as one.

    Example:
        >>> join([Batch(torch.zeros(1)), Batch(torch.ones(2))]).inputs
        tensor([0., 1., 1.])
    """
    return batches[0] if len(batches) == 1 else Batch(*map(_join, zip(*batches, strict=True)))


def _join(parts: Sequence[Any]) -> Any:
    if isinstance(parts[0], Mapping):
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return None if parts[0] is None else torch.cat(list(parts))
