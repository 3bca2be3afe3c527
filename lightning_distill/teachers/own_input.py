"""What the teacher sees: the student's images in the teacher's own resolution and normalisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_distill.types import INPUT_KEYS, describe

Numbers = float | Sequence[float]


class OwnInput:
    """The student's images as the teacher's: resized first, then normalised by one subtraction and one division.

    What is done is decided here, once; a teacher that wants what the student gets is given just that, untouched.

    Args:
        mean: The teacher's own mean, a number or one per channel; together with ``std``.
        std: Its own standard deviation, above 0.
        data_mean: The mean that the images were normalised with; ``None`` for images as they were read.
        data_std: The standard deviation that they were normalised with.
        size: The teacher's resolution, ``(height, width)``, or one number for the shorter edge.

    Raises:
        ValueError: If a number is out of range, or one of a pair is missing.

    Example:
        >>> own = OwnInput(mean=0.5, std=0.5, size=4)
        >>> own(torch.ones(1, 3, 2, 2))[0, 0, 0], OwnInput(0.5, 0.5, data_mean=0.5, data_std=0.5).active
        (tensor([1., 1., 1., 1.]), False)
    """

    def __init__(
        self,
        mean: Numbers | None = None,
        std: Numbers | None = None,
        data_mean: Numbers | None = None,
        data_std: Numbers | None = None,
        size: int | Sequence[int] | None = None,
    ) -> None:
        own = _normalisation("mean", mean, "std", std)
        data = _normalisation("data_mean", data_mean, "data_std", data_std)
        self.size = _checked_size(size)
        channels = {len(values) for values in (*own, *data)} - {1}
        if len(channels) > 1:
            raise ValueError(
                f"Expected `mean`, `std`, `data_mean` and `data_std` to have as many numbers as the images have "
                f"channels, but got {' and '.join(map(str, sorted(channels)))}."
            )
        # (x * data_std + data_mean - mean) / std, with both constants on one side: images that were not normalised
        # come out as torchvision's Normalize has them, bit for bit.
        shift = _each(lambda m, s, dm, ds: (m - dm) / ds, *own, *data)
        scale = _each(lambda m, s, dm, ds: s / ds, *own, *data)
        self.shift = shift if any(shift) else None
        self.scale = scale if any(value != 1 for value in scale) else None
        self._constants: dict[tuple[torch.device, torch.dtype], tuple[Tensor | None, Tensor | None]] = {}

    @property
    def active(self) -> bool:
        """Whether anything is done at all."""
        return self.size is not None or self.shift is not None or self.scale is not None

    def __call__(self, inputs: Any) -> Any:
        """The inputs with their images ``[B, C, H, W]`` as the teacher wants them.

        Raises:
            ValueError: If there is something to do and the inputs hold no images.
        """
        if not self.active:
            return inputs
        if not isinstance(inputs, Mapping):
            return self._image(inputs)
        key = next((key for key in INPUT_KEYS if key in inputs), None)
        if key is None:
            raise ValueError(_no_images(inputs))
        return {**inputs, key: self._image(inputs[key])}

    def _image(self, given: Any) -> Tensor:
        if not isinstance(given, Tensor) or given.dim() != 4:
            raise ValueError(_no_images(given))
        image: Tensor = given if given.is_floating_point() else given.float()
        if self.size is not None and (size := _target_size(self.size, image)) != image.shape[2:]:
            # As torchvision's v2.functional.resize, whose antialiasing is on; half precision would be resampled in it.
            full = image if image.dtype in (torch.float32, torch.float64) else image.float()
            image = F.interpolate(full, size, mode="bilinear", antialias=True).to(image.dtype)
        shift, scale = self._on(image)
        image = image if shift is None else image - shift
        return image if scale is None else image / scale

    def _on(self, image: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Shift and scale ``[1, C, 1, 1]`` beside ``image``; made once for each device and precision."""
        key = image.device, image.dtype
        if key not in self._constants:
            made = [
                None
                if values is None
                else torch.tensor(values, dtype=image.dtype, device=image.device).view(1, -1, 1, 1)
                for values in (self.shift, self.scale)
            ]
            self._constants[key] = made[0], made[1]
        return self._constants[key]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_constants": {}}  # not where they were: a device of another process

    def __repr__(self) -> str:
        return f"size={self.size}, shift={self.shift}, scale={self.scale}"


def _target_size(size: int | tuple[int, int], image: Tensor) -> tuple[int, int]:
    if not isinstance(size, int):
        return size
    height, width = image.shape[2:]
    short = min(height, width)
    return int(size * height / short), int(size * width / short)


def _normalisation(
    mean_name: str, mean: Numbers | None, std_name: str, std: Numbers | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation as tuples; 0 and 1 where neither is given."""
    if (mean is None) != (std is None):
        missing, there = (mean_name, std_name) if mean is None else (std_name, mean_name)
        raise ValueError(
            f"Expected `{mean_name}` and `{std_name}` together, but got `{there}` alone. Pass `{missing}`."
        )
    pair = _numbers(mean_name, mean, 0.0), _numbers(std_name, std, 1.0)
    if not all(value > 0 for value in pair[1]):
        raise ValueError(f"Expected `{std_name}` to be above 0, but got {std}.")
    return pair


def _numbers(name: str, values: Numbers | None, default: float) -> tuple[float, ...]:
    if values is None:
        return (default,)
    listed = list(values) if isinstance(values, Sequence) else [values]
    if not listed or not all(isinstance(v, (int, float)) and abs(v) < float("inf") for v in listed):
        raise ValueError(f"Expected `{name}` to be a number or one number per channel, but got {values!r}.")
    return tuple(float(value) for value in listed)


def _each(function: Any, *values: tuple[float, ...]) -> tuple[float, ...]:
    channels = max(map(len, values))
    return tuple(function(*(v[channel % len(v)] for v in values)) for channel in range(channels))


def _checked_size(size: int | Sequence[int] | None) -> int | tuple[int, int] | None:
    if size is None:
        return None
    edges = list(size) if isinstance(size, Sequence) else [size]
    if len(edges) not in (1, 2) or not all(type(edge) is int and edge > 0 for edge in edges):
        raise ValueError(f"Expected `size` to be a number of pixels or (height, width), but got {size!r}.")
    return edges[0] if len(edges) == 1 else (edges[0], edges[1])


def _no_images(inputs: Any) -> str:
    return (
        f"Expected images [B, C, H, W], for the teacher's own `mean`, `std` and `size`, but got {describe(inputs)}. "
        "Leave these out, or let the batches carry a `teacher_input`, which is passed to the teacher as it is."
    )
