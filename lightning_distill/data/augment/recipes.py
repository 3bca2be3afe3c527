"""Named augmentations of training images, as recipes have them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import nn

from lightning_distill.checks import check_fraction
from lightning_distill.data.augment.batch import BatchAugmentation
from lightning_distill.data.augment.geometry import RandomCrop, RandomFlip
from lightning_distill.data.augment.keyed import Keyed

BINS = 31  # magnitudes of torchvision's RandAugment: 0 to 30
LEVELS = 10  # of the notation rand-m9-mstd0.5
FILL = 115  # grey value of what turns and shears uncover: the mean of ImageNet, 0.449, of 255
MEAN, STD = 0.449, 0.226  # of ImageNet's pixels, over the three channels


def standard(padding: int = 4, flip: float = 0.5, padding_mode: str = "constant", seed: int = 0) -> BatchAugmentation:
    """Crop from the padded image and flip: what CIFAR is trained with (https://arxiv.org/abs/1512.03385, section 4.2).

    Args:
        padding: Pixels on every side; 4 suits images of 32 pixels.
        flip: Share of the images that are mirrored; 0 for digits and letters.
        padding_mode: ``"constant"`` (black), ``"reflect"`` or ``"edge"``.
        seed: Decides all views.
    """
    return BatchAugmentation(_moves(padding, flip, padding_mode), seed)


def randaugment(
    num_ops: int = 2,
    magnitude: int = 9,
    padding: int = 4,
    flip: float = 0.5,
    padding_mode: str = "constant",
    seed: int = 0,
) -> BatchAugmentation:
    """:func:`standard`, then ``torchvision.transforms.v2.RandAugment`` (https://arxiv.org/abs/1909.13719).

    Args:
        num_ops: Operations on each image.
        magnitude: How strong they are, 0 to 30.
        padding: See :func:`standard`.
        flip: See :func:`standard`.
        padding_mode: See :func:`standard`.
        seed: Decides all views.

    Raises:
        ValueError: If a number is out of range.
    """
    _check_magnitude("magnitude", magnitude, BINS - 1)
    v2 = _v2()
    chosen = v2.RandAugment(num_ops, magnitude, BINS, v2.InterpolationMode.BILINEAR, FILL)
    return BatchAugmentation([*_moves(padding, flip, padding_mode), Keyed(_on_uint8([chosen]))], seed)


def deit(
    crop: Sequence[float] | None = (0.08, 1.0),
    flip: float = 0.5,
    num_ops: int = 2,
    magnitude: float = 9,
    magnitude_std: float = 0.5,
    operation_probability: float = 0.5,
    color_jitter: float = 0.0,
    erase: float = 0.25,
    mean: Sequence[float] = (MEAN,),
    std: Sequence[float] = (STD,),
    seed: int = 0,
) -> BatchAugmentation:
    """DeiT's ``rand-m9-mstd0.5-inc1`` and random erasing (https://arxiv.org/abs/2012.12877, table 9).

    Mixup, CutMix and label smoothing belong to it as well: ``mixing=deit``. RandAugment's operations are torchvision's.
    The paper's code has Invert and SolarizeAdd in place of the identity, and posterizes to fewer bits.

    Args:
        crop: Least and most share of the area in a random crop, which is resized (bicubic) to the image's own size;
            ``None`` where the data module cuts random crops when it decodes.
        flip: Share of the images that are mirrored.
        num_ops: Operations on each image.
        magnitude: How strong they are on average, 0 to 10.
        magnitude_std: Its standard deviation.
        operation_probability: Share of the operations that are carried out.
        color_jitter: Brightness, contrast and saturation change by up to this share. The paper's command line says 0.3,
            but its code leaves the jitter out where RandAugment is on.
        erase: Share of the images of which a rectangle is replaced by noise with ``mean`` and ``std``.
        mean: Of the images, one for each channel or one for all.
        std: Likewise.
        seed: Decides all views.

    Raises:
        ValueError: If a number is out of range.
    """
    for name, share in (("operation_probability", operation_probability), ("erase", erase), ("flip", flip)):
        check_fraction(name, share)
    _check_magnitude("magnitude", magnitude, LEVELS)
    v2 = _v2()
    steps: list[nn.Module] = []
    if crop is not None:
        steps.append(_own_size_crop(tuple(crop)))
    steps.append(v2.RandomHorizontalFlip(flip))
    steps += [
        v2.RandomApply([_noisy_operation(magnitude, magnitude_std)], operation_probability) for _ in range(num_ops)
    ]
    if color_jitter:
        steps.append(v2.ColorJitter(color_jitter, color_jitter, color_jitter))
    erasing = [
        v2.Normalize(list(mean), list(std)),
        v2.RandomErasing(erase, scale=(0.02, 1 / 3), value="random"),
        v2.Normalize([-m / s for m, s in zip(mean, std, strict=True)], [1 / s for s in std]),
    ]
    return BatchAugmentation([Keyed(v2.Compose([_on_uint8(steps), *(erasing if erase else [])]))], seed)


def _moves(padding: int, flip: float, padding_mode: str) -> list[Any]:
    crop = [RandomCrop(padding, padding_mode=padding_mode)] if padding else []  # type: ignore[arg-type] # it checks
    return [*crop, *([RandomFlip(flip)] if flip else [])]


def _on_uint8(steps: Sequence[nn.Module]) -> nn.Module:
    """Steps on images of 0 to 255, for which torchvision's operations are defined, between floats of 0 to 1."""
    import torch

    v2 = _v2()
    module: nn.Module = v2.Compose([v2.ToDtype(torch.uint8, scale=True), *steps, v2.ToDtype(torch.float32, scale=True)])
    return module


def _noisy_operation(magnitude: float, std: float) -> nn.Module:
    """One operation of RandAugment whose magnitude is normally distributed, cut off at both ends."""
    v2 = _v2()
    centre, spread = magnitude / LEVELS * (BINS - 1), std / LEVELS * (BINS - 1)
    shares = _normal_shares(centre, spread)
    kinds = [
        v2.RandAugment(1, level, BINS, v2.InterpolationMode.BILINEAR, FILL) for level in range(BINS) if shares[level]
    ]
    module: nn.Module = v2.RandomChoice(kinds, [share for share in shares if share])
    return module


def _normal_shares(centre: float, spread: float) -> list[float]:
    """How often a normally distributed number is rounded to 0, 1, ... 30; what lies beyond belongs to the ends."""
    edges = [-math.inf, *(level + 0.5 for level in range(BINS - 1)), math.inf]
    if spread == 0:
        return [float(low < centre <= high) for low, high in pairwise(edges)]
    below = [0.5 * (1 + math.erf((edge - centre) / (spread * math.sqrt(2)))) for edge in edges]
    shares = [high - low for low, high in pairwise(below)]
    return [share if share > 1e-6 else 0.0 for share in shares]


def _own_size_crop(scale: tuple[float, ...]) -> nn.Module:
    from lightning_distill.data.augment.resized_crop import OwnSizeCrop

    return OwnSizeCrop(scale)


def _check_magnitude(name: str, value: float, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
        raise ValueError(f"Expected `{name}` to be a number from 0 to {most}, but got {value!r}.")


def _v2() -> Any:
    """torchvision's transforms: an extra of this package, imported where it is needed."""
    from torchvision.transforms import v2

    return v2
