"""Crop and flip as maps of indices: a chain of them costs one gather, exact in any dtype and on any device."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_distill.checks import check_choice, check_fraction
from lightning_distill.data.augment.keys import Draws


class Grid(NamedTuple):
    """Where each pixel of an output comes from.

    Attributes:
        rows: ``[B, H]`` source rows.
        columns: ``[B, W]`` source columns.
    """

    rows: Tensor
    columns: Tensor


class Geometry(ABC):
    """An operation that moves whole rows and columns of pixels.

    Attributes:
        draws: How many random numbers it needs for each sample.
        fills: Whether pixels may come from outside of its input: they are zero.
    """

    draws: ClassVar[int]

    @property
    def fills(self) -> bool:
        return False

    @abstractmethod
    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the output for an input of this size.

        Raises:
            ValueError: If the operation cannot be applied to it.
        """

    @abstractmethod
    def source(self, grid: Grid, height: int, width: int, draws: Draws) -> Grid:
        """Where the output's pixels at ``grid`` lie in an input of this size: outside of it they are filled."""


@dataclass(frozen=True)
class RandomCrop(Geometry):
    """A window of the image, at a place of its own for each sample.

    Args:
        padding: Pixels added on every side before the crop.
        window: Height and width: one number or two; the image's own if not given.
        padding_mode: ``"constant"`` pads with zeros, ``"reflect"`` and ``"edge"`` with the image.

    Raises:
        ValueError: If a number is out of range.
    """

    draws = 2

    padding: int = 0
    window: int | tuple[int, int] | None = None
    padding_mode: Literal["constant", "reflect", "edge"] = "constant"

    def __post_init__(self) -> None:
        if isinstance(self.padding, bool) or not isinstance(self.padding, int) or self.padding < 0:
            raise ValueError(
                f"Expected `padding` to be a whole number of pixels, at least 0, but got {self.padding!r}."
            )
        check_choice("padding_mode", self.padding_mode, ("constant", "reflect", "edge"))

    @property
    def fills(self) -> bool:
        return self.padding > 0 and self.padding_mode == "constant"

    def size(self, height: int, width: int) -> tuple[int, int]:
        wanted = (height, width) if self.window is None else self.window
        rows, columns = (wanted, wanted) if isinstance(wanted, int) else wanted
        most = (height + 2 * self.padding, width + 2 * self.padding)
        if not (0 < rows <= most[0] and 0 < columns <= most[1]):
            raise ValueError(
                f"Expected `window` to fit into the padded image of {most[0]} x {most[1]} pixels, but got {rows} x "
                f"{columns}. Pad more, or crop less."
            )
        if self.padding_mode == "reflect" and self.padding >= min(height, width):
            raise ValueError(
                f"Expected `padding` to be below the image's size of {height} x {width} pixels, where the image is "
                f"reflected, but got {self.padding}."
            )
        return rows, columns

    def source(self, grid: Grid, height: int, width: int, draws: Draws) -> Grid:
        window = self.size(height, width)
        sides = zip(grid, (height, width), window, strict=True)
        return Grid(*(self._along(*side, draws, index) for index, side in enumerate(sides)))

    def _along(self, positions: Tensor, size: int, window: int, draws: Draws, index: int) -> Tensor:
        first = draws.integers(index, size + 2 * self.padding - window + 1) - self.padding
        moved = positions + first.unsqueeze(1)
        if self.padding_mode == "reflect":
            moved = size - 1 - (size - 1 - moved.abs()).abs()
        elif self.padding_mode == "edge":
            moved = moved.clamp(0, size - 1)
        return moved


@dataclass(frozen=True)
class RandomFlip(Geometry):
    """Left and right exchanged, or top and bottom, for a share ``p`` of the samples.

    Raises:
        ValueError: If ``p`` is not in [0, 1], or ``axis`` is another word.
    """

    draws = 1

    p: float = 0.5
    axis: Literal["horizontal", "vertical"] = "horizontal"

    def __post_init__(self) -> None:
        check_fraction("p", self.p)
        check_choice("axis", self.axis, ("horizontal", "vertical"))

    def size(self, height: int, width: int) -> tuple[int, int]:
        return height, width

    def source(self, grid: Grid, height: int, width: int, draws: Draws) -> Grid:
        flipped = (draws.uniform(0) < self.p).unsqueeze(1)
        if self.axis == "vertical":
            return grid._replace(rows=torch.where(flipped, height - 1 - grid.rows, grid.rows))
        return grid._replace(columns=torch.where(flipped, width - 1 - grid.columns, grid.columns))


def move_pixels(images: Tensor, operations: Sequence[tuple[Geometry, Draws]]) -> Tensor:
    """Apply operations one after the other, in one gather.

    Args:
        images: ``[B, C, H, W]``, any dtype.
        operations: Each with its random numbers.

    Returns:
        ``[B, C, H', W']``, of the size that the last operation gives.
    """
    if not operations:
        return images
    sizes = [(images.shape[2], images.shape[3])]
    for operation, _ in operations:
        sizes.append(operation.size(*sizes[-1]))
    grid = Grid(*(torch.arange(size, device=images.device).expand(len(images), size) for size in sizes[-1]))
    filled: Grid | None = None
    # From the output back to the input. What an operation fills stays filled, whatever came before it.
    for (operation, draws), size in zip(reversed(operations), reversed(sizes[:-1]), strict=True):
        grid = operation.source(grid, *size, draws)
        if operation.fills:
            outside = Grid(*((at < 0) | (at >= end) for at, end in zip(grid, size, strict=True)))
            filled = outside if filled is None else Grid(filled.rows | outside.rows, filled.columns | outside.columns)
    return _gather(images, grid, filled)


def _gather(images: Tensor, grid: Grid, filled: Grid | None) -> Tensor:
    batch, channels, height, width = images.shape
    pixels, rows, columns = images.flatten(2), grid.rows * width, grid.columns
    if filled is not None:
        pixels = F.pad(pixels, (1, 0))  # the first one is zero
        below = -2 * height * width
        rows, columns = (rows + 1).masked_fill(filled.rows, below), columns.masked_fill(filled.columns, below)
    where = rows.unsqueeze(2) + columns.unsqueeze(1)
    if filled is not None:
        where = where.clamp_(min=0)
    index = where.view(batch, 1, -1).expand(-1, channels, -1)
    return pixels.gather(2, index).view(batch, channels, *where.shape[1:])
