"""Random erasing (Zhong et al., 2017, https://arxiv.org/abs/1708.04896) and Cutout (https://arxiv.org/abs/1708.04552)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lightning_distill.checks import check_fraction
from lightning_distill.data.augment.keys import Draws


@dataclass(frozen=True)
class RandomErasing:
    """A rectangle of a share ``p`` of the samples set to ``value``, wholly inside the image.

    Args:
        p: Share of the samples.
        scale: Least and largest share of the image's area.
        ratio: Least and largest height divided by width, drawn uniformly on a logarithmic scale.
        value: What the pixels are set to.

    Raises:
        ValueError: If a number is out of range.
    """

    draws: ClassVar[int] = 5

    p: float = 0.5
    scale: tuple[float, float] = (0.02, 0.33)
    ratio: tuple[float, float] = (0.3, 3.3)
    value: float = 0.0

    def __post_init__(self) -> None:
        check_fraction("p", self.p)
        for name, (low, high), most in (("scale", self.scale, 1.0), ("ratio", self.ratio, math.inf)):
            if not 0 < low <= high <= most:
                raise ValueError(
                    f"Expected `{name}` to be two rising numbers above 0{'' if most == math.inf else ' and up to 1'}, "
                    f"but got {(low, high)}."
                )

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """``images`` ``[B, C, H, W]`` with the rectangles set."""
        height, width = images.shape[2:]
        area = height * width * _between(draws.uniform(0), *self.scale)
        ratio = _between(draws.uniform(1), *map(math.log, self.ratio)).exp()
        rows = _inside(height, (area * ratio).sqrt(), draws.uniform(2))
        columns = _inside(width, (area / ratio).sqrt(), draws.uniform(3))
        chosen = (draws.uniform(4) < self.p)[:, None, None]
        erased = (rows.unsqueeze(2) & columns.unsqueeze(1) & chosen).unsqueeze(1)
        return images.masked_fill(erased, self.value)


@dataclass(frozen=True)
class Cutout:
    """A square of ``length`` pixels set to ``value``, its centre anywhere in the image: it may stand out.

    Raises:
        ValueError: If ``length`` is below 1.
    """

    draws: ClassVar[int] = 2

    length: int = 16
    value: float = 0.0

    def __post_init__(self) -> None:
        if isinstance(self.length, bool) or not isinstance(self.length, int) or self.length < 1:
            raise ValueError(f"Expected `length` to be a whole number of at least 1, but got {self.length!r}.")

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """``images`` ``[B, C, H, W]`` with the squares set."""
        erased = []
        for index, size in enumerate(images.shape[2:]):
            first = (draws.integers(index, size) - self.length // 2).unsqueeze(1)
            positions = torch.arange(size, device=images.device)
            erased.append((positions >= first) & (positions < first + self.length))
        return images.masked_fill((erased[0].unsqueeze(2) & erased[1].unsqueeze(1)).unsqueeze(1), self.value)


def _between(uniform: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * uniform


def _inside(size: int, length: Tensor, uniform: Tensor) -> Tensor:
    """``[B, size]``: which positions a piece of this length covers, at a random place inside."""
    length = length.round().clamp(1, size)
    first = (uniform * (size - length + 1)).floor().unsqueeze(1)
    positions = torch.arange(size, device=length.device)
    return (positions >= first) & (positions < first + length.unsqueeze(1))
