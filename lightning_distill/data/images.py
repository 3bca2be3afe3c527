"""Images that are decoded when they are needed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from lightning_distill.checks import check_choice
from lightning_distill.types import Batch

MODES = {1: "L", 3: "RGB"}
# What Pillow raises for damaged files of the various formats; a file that is gone is an OSError, too.
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, IndexError)
NAMED = 5  # files in a message


class ImageSource(Protocol):
    """Where images are."""

    def __len__(self) -> int:
        """Number of images."""

    def load(self, index: int) -> Any:
        """One of them, as a Pillow image."""

    def name(self, index: int) -> str:
        """What a message calls it."""

    def fingerprint(self) -> str:
        """A hash that changes with the images."""


class ImageFiles:
    """Image files.

    Args:
        paths: One per image.
        root: Their names are relative to it.
    """

    def __init__(self, paths: list[Path], root: Path) -> None:
        self.paths = paths
        self.root = root

    def __len__(self) -> int:
        return len(self.paths)

    def load(self, index: int) -> Any:
        from PIL import Image

        with self.paths[index].open("rb") as file, Image.open(file) as image:
            image.load()
            return image

    def name(self, index: int) -> str:
        return str(self.paths[index])

    def fingerprint(self) -> str:
        """A hash of names and sizes: the files are too many to be read for it."""
        sizes = [(str(path.relative_to(self.root)), path.stat().st_size) for path in self.paths]
        return hashlib.sha256(repr(sizes).encode()).hexdigest()


@dataclass(frozen=True)
class View:
    """How an image is cut to size; a function of (seed, epoch, sample id) where it is random.

    Attributes:
        image_size: Height and width of the result.
        resize: What the shorter side is brought to before the middle is cut out.
        channels: 3 for colour, 1 for grey.
        random_crop: Least and most share of the area that a training crop has, as Inception's
            (https://arxiv.org/abs/1409.4842); ``None`` for the middle in training as well.
        seed: Of the random crops.
    """

    image_size: int
    resize: int
    channels: int = 3
    random_crop: tuple[float, float] | None = None
    seed: int = 0

    def __call__(self, image: Any, sample_id: int, epoch: int | None) -> Tensor:
        """A Pillow image as uint8 ``[channels, image_size, image_size]``; an epoch asks for its random crop."""
        from torchvision.transforms import v2

        image = image.convert(MODES[self.channels])
        if epoch is None or self.random_crop is None:
            image = v2.functional.center_crop(v2.functional.resize(image, [self.resize]), [self.image_size])
        else:
            crop = v2.RandomResizedCrop(self.image_size, scale=self.random_crop)
            image = with_seed((self.seed, epoch, sample_id), lambda: crop(image))
        tensor: Tensor = v2.functional.pil_to_tensor(image)
        return tensor


def with_seed(seed: tuple[int, ...], function: Callable[[], Any]) -> Any:
    """What ``function`` returns where torch's global CPU generator has this seed; it is put back afterwards."""
    state = torch.get_rng_state()
    # Not `torch.manual_seed`: it would reseed the accelerators as well.
    torch.default_generator.manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> 1))
    try:
        return function()
    finally:
        torch.set_rng_state(state)


class ImageSamples:
    """Images with their labels and ids, decoded and cut to size when they are read.

    Args:
        source: The images.
        target: Labels ``[N]``.
        sample_ids: Ids ``[N]``.
        view: How they are cut to size.
        on_corrupt: What to do about an image that cannot be read: ``"raise"`` an error that names it, or ``"skip"`` it.
        rows: Positions ``[N]`` in the source; all of them if not given.

    Raises:
        ValueError: If ``on_corrupt`` is neither.
    """

    def __init__(
        self,
        source: ImageSource,
        target: Tensor,
        sample_ids: Tensor,
        view: View,
        on_corrupt: str = "raise",
        rows: Tensor | None = None,
    ) -> None:
        check_choice("on_corrupt", on_corrupt, ("raise", "skip"))
        self.source = source
        self.target = target
        self.sample_ids = sample_ids
        self.view = view
        self.on_corrupt = on_corrupt
        self.rows = torch.arange(len(source)) if rows is None else rows
        # Workers mark what they could not read, here, where the main process sees it.
        self._unreadable = torch.zeros(len(source), dtype=torch.bool).share_memory_()  # type: ignore[no-untyped-call]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def unreadable(self) -> list[str]:
        """Names of the images that were skipped so far."""
        rows = self.rows[self._unreadable[self.rows]]
        return [self.source.name(int(row)) for row in rows]

    def read(self, positions: Tensor, epoch: int | None) -> Batch:
        """The images at ``positions`` that can be read: uint8 ``[B, C, H, W]``.

        Raises:
            ValueError: If one cannot be read and is not to be skipped, or none can be read.
        """
        images, kept = [], []
        for position in positions.tolist():
            image = self._read_one(position, epoch)
            if image is not None:
                images.append(image)
                kept.append(position)
        if not images:
            names = ", ".join(self.source.name(int(self.rows[p])) for p in positions[:NAMED].tolist())
            raise ValueError(
                f"Expected at least one image of a batch to be readable, but none of {len(positions)} is: {names} ..."
            )
        return Batch(torch.stack(images), self.target[kept], self.sample_ids[kept])

    def _read_one(self, position: int, epoch: int | None) -> Tensor | None:
        row = int(self.rows[position])
        try:
            return self.view(self.source.load(row), int(self.sample_ids[position]), epoch)
        except UNREADABLE as error:
            if self.on_corrupt == "skip":
                self._unreadable[row] = True
                return None
            raise ValueError(
                f"Expected {self.source.name(row)} to be an image, but it cannot be read: {error}. Replace it, or "
                "leave such files out: on_corrupt=skip"
            ) from error

    def example(self) -> Batch:
        """The first two images that can be read."""
        found: list[int] = []
        for position in range(len(self)):
            if self._read_one(position, None) is not None:
                found.append(position)
            if len(found) == 2:
                break
        return self.read(torch.tensor(found or [0]), None)

    def subset(self, positions: Tensor) -> ImageSamples:
        """The images at ``positions``; what was skipped is known to both."""
        ids, rows = self.sample_ids[positions], self.rows[positions]
        other = ImageSamples(self.source, self.target[positions], ids, self.view, self.on_corrupt, rows)
        other._unreadable = self._unreadable
        return other

    def fingerprint(self) -> str:
        """A hash of the images' names, labels and ids and of how they are cut to size."""
        parts = (self.source.fingerprint(), astuple(self.view), *(t.tolist() for t in self._numbers()))
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def _numbers(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.rows, self.target, self.sample_ids
