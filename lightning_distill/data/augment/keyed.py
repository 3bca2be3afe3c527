"""Any transform that draws from global generators, made a function of a key."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from functools import partial
from types import BuiltinFunctionType, FunctionType
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from lightning_distill.data.augment.keys import Draws
from lightning_distill.types import describe

# What every nn.Module has, besides its children.
INTERNAL = frozenset(vars(nn.Module())) - {"_modules"}
NUMPY_SEEDS = 2**32


class Keyed:
    """A random transform of single images, for example of ``torchvision.transforms.v2``, on every image of a batch.

    For each image the generators of torch, ``random`` and NumPy are seeded by its own key; afterwards they are as they
    were. What a transform draws on the CPU, as torchvision's do, is the same for images on any device.

    Args:
        transform: ``image [C, H, W] -> image``; every image of a batch comes out in the same size.

    Raises:
        TypeError: If it cannot be called.
        ValueError: If it holds something that no fingerprint can be taken of.

    Example:
        >>> from torchvision.transforms import v2
        >>> images, ids = torch.arange(3.0).expand(4, 1, 1, 3), torch.arange(4)
        >>> flip = Keyed(v2.RandomHorizontalFlip(0.5))
        >>> flip(images, Draws.of(seed=0, epoch=0, sample_ids=ids, count=1))[:, 0, 0].tolist()
        [[0.0, 1.0, 2.0], [2.0, 1.0, 0.0], [2.0, 1.0, 0.0], [2.0, 1.0, 0.0]]
    """

    draws: ClassVar[int] = 1

    def __init__(self, transform: Callable[[Tensor], Tensor]) -> None:
        if not callable(transform):
            raise TypeError(f"Expected `transform` to be callable, image -> image, but got {describe(transform)}.")
        self.transform = transform
        self._outline = outline(transform)

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """``images`` ``[B, C, H, W]``, each transformed, in their dtype."""
        with generators_restored(images.device):
            views = [self._one(image, seed) for image, seed in zip(images, draws.seeds(0), strict=True)]
        if len({view.shape for view in views}) > 1:
            sizes = sorted({str(list(view.shape)) for view in views})
            raise ValueError(
                f"Expected `transform` to give every image of a batch the same size, but got {' and '.join(sizes[:2])}."
                " End it with a crop or a resize to a fixed size."
            )
        return torch.stack(views).to(images.dtype)

    def _one(self, image: Tensor, seed: int) -> Tensor:
        seed_generators(seed, image.device)
        return self.transform(image)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._outline})"


@contextmanager
def generators_restored(device: torch.device | None = None) -> Iterator[None]:
    """Puts the generators of torch, ``random`` and NumPy back to where they were."""
    devices = [device.index or 0] if device is not None and device.type == "cuda" else []
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def seed_generators(seed: int, device: torch.device | None = None) -> None:
    """Seed the generators of torch (on the CPU, and on ``device``), ``random`` and NumPy."""
    torch.default_generator.manual_seed(seed)  # `torch.manual_seed` would reseed every accelerator as well
    if device is not None and device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % NUMPY_SEEDS)


def outline(value: Any) -> str:
    """Everything that decides what a transform does, as text that is the same in every process.

    Raises:
        ValueError: If ``value`` holds an object of which nothing is known.

    Example:
        >>> outline({"size": (1, 2), "act": nn.ReLU()})
        "{'size': (1, 2), 'act': torch.nn.modules.activation.ReLU(inplace=False)}"
    """
    if isinstance(value, nn.Module):
        items = {name: part for name, part in vars(value).items() if name not in INTERNAL and part != {}}
        return f"{_name(type(value))}({', '.join(f'{name}={outline(part)}' for name, part in items.items())})"
    if isinstance(value, partial):
        return f"partial({outline(value.func)}, {outline(value.args)}, {outline(value.keywords)})"
    if isinstance(value, (FunctionType, BuiltinFunctionType, type)):
        if "<lambda>" in value.__qualname__:
            raise ValueError(
                "Expected a transform without lambdas, which look all alike. Name the function with `def`."
            )
        return _name(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{outline(name)}: {outline(part)}" for name, part in value.items()) + "}"
    if isinstance(value, (tuple, list)):
        return "(" + ", ".join(map(outline, value)) + ")"
    if isinstance(value, Tensor):
        return f"tensor({value.dtype}, {value.tolist()})"
    if value is None or isinstance(value, (bool, int, float, str, bytes, Enum, torch.dtype)):
        return repr(value)
    if hasattr(value, "__dict__"):
        return f"{_name(type(value))}{outline(vars(value))}"
    text = repr(value)
    if " at 0x" in text:
        raise ValueError(f"Expected a transform of parts that can be told apart, but got {text}. Give it a `__repr__`.")
    return text


def _name(kind: Any) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
