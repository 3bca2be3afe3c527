"""Generated images of shapes, with the class of every pixel: a segmentation task that needs no download."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from lightning_distill.data.labels import NO_LABEL
from lightning_distill.data.module import check_count
from lightning_distill.data.prepare import Samples
from lightning_distill.data.tensors import TensorDataModule
from lightning_distill.types import Batch

CLASSES = ("background", "disc", "square", "triangle")
SHAPES = 2  # in each image; later ones cover earlier ones
EDGE = 0.5  # pixels on both sides of an outline that have no label, as the outlines of hand-drawn masks have none
NOISE = 0.1


class ShapesDataModule(TensorDataModule):
    """Colour images ``[3, size, size]`` in [0, 1] of bright discs, squares and triangles on a dark ground, with noise.

    Colours tell shapes from the ground; which shape it is only its outline tells. Targets are ``[size, size]`` class
    indices, -100 on outlines. Sample ids count on from training through validation to test, and images are a function
    of ``data_seed`` alone.

    Args:
        size: Height and width of the images.
        samples: Training images that there are; what a teacher sees.
        train_samples: Train on the first so many only; ``None`` for all.
        val_samples: Validation images; as many are for the test.
        batch_size: Samples per batch and process.
        seed: Decides the order.
        data_seed: Decides the images.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> data = ShapesDataModule(size=16, samples=8, val_samples=4, batch_size=4)
        >>> batch = next(iter(data.train_dataloader()))
        >>> list(batch.inputs.shape), list(batch.target.shape), data.num_classes
        ([4, 3, 16, 16], [4, 16, 16], 4)
    """

    def __init__(
        self,
        size: int = 24,
        samples: int = 500,
        train_samples: int | None = None,
        val_samples: int = 200,
        batch_size: int = 25,
        seed: int = 0,
        data_seed: int = 0,
    ) -> None:
        check_count("size", size, 8)
        check_count("samples", samples, 2)
        check_count("val_samples", val_samples, 1)
        check_count("data_seed", data_seed, 0)
        if train_samples is not None:
            check_count("train_samples", train_samples, 1)
            if train_samples > samples:
                raise ValueError(f"Expected `train_samples` to be at most {samples}, but got {train_samples}.")
        images, target = draw_shapes(samples + 2 * val_samples, size, data_seed)
        ids = torch.arange(len(images))
        parts = (Batch(images[part], target[part], ids[part]) for part in _parts(samples, val_samples))
        super().__init__(*parts, num_classes=len(CLASSES), batch_size=batch_size, seed=seed, class_names=CLASSES)
        self.train_samples = train_samples  # the first ones: all are drawn alike

    @property
    def train_dataset(self) -> Samples:
        """The samples that are trained on."""
        samples = self._train
        return samples if self.train_samples is None else samples.subset(torch.arange(self.train_samples))


def _parts(samples: int, val_samples: int) -> tuple[slice, slice, slice]:
    val = slice(samples, samples + val_samples)
    return slice(samples), val, slice(val.stop, val.stop + val_samples)


@lru_cache(maxsize=2)  # teacher and student are built with a module each
def draw_shapes(count: int, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images ``[count, 3, size, size]`` in [0, 1] and the class of every pixel ``[count, size, size]``.

    Example:
        >>> images, target = draw_shapes(6, size=16, seed=0)
        >>> list(images.shape), target.unique().tolist()
        ([6, 3, 16, 16], [-100, 0, 1, 2, 3])
    """
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    images = 0.4 * torch.rand(count, 3, 1, 1, generator=generator).repeat(1, 1, size, size)
    target = torch.zeros(count, size, size, dtype=torch.long)
    for _ in range(SHAPES):
        centre = size * torch.rand(2, count, 1, 1, generator=generator)
        radius = size * (0.2 + 0.12 * torch.rand(count, 1, 1, generator=generator))
        kind = torch.randint(1, len(CLASSES), (count, 1, 1), generator=generator)
        colour = 0.5 + 0.5 * torch.rand(count, 3, 1, 1, generator=generator)
        distance = _distance(rows - centre[0], columns - centre[1], radius, kind)
        inside, outline = distance < 0, distance.abs() < EDGE
        images = torch.where(inside.unsqueeze(1), colour, images)
        target = torch.where(outline, NO_LABEL, torch.where(inside, kind, target))
    images += NOISE * torch.randn(images.shape, generator=generator)
    return images.clamp(0, 1), target


def _distance(y: Tensor, x: Tensor, radius: Tensor, kind: Tensor) -> Tensor:
    """How far each pixel is outside of its shape, negative inside: ``[count, size, size]``."""
    disc = torch.hypot(x, y) - radius
    square = torch.maximum(x.abs(), y.abs()) - 0.85 * radius
    # Below the tip and above the base: sides that rise by two for every one.
    triangle = torch.maximum((2 * x.abs() - y) / 5**0.5 - 0.45 * radius, y - 0.85 * radius)
    return torch.where(kind == 1, disc, torch.where(kind == 2, square, triangle))
