"""A data module of images that worker processes decode."""

from __future__ import annotations

import os
import warnings
from typing import Any

import torch
from torch import Tensor

from lightning_distill.checks import check_choice
from lightning_distill.data.images import MODES, NAMED, ImageSamples, ImageSource, View
from lightning_distill.data.module import BaseDataModule, check_count
from lightning_distill.data.split import take_split

MOST_WORKERS = 8  # by default; more help only with very large images


class ImageDataModule(BaseDataModule):
    """Images from any source, decoded in ``workers`` processes.

    Images that cannot be read and are skipped are counted, and a warning at the end of every training and test names
    them.

    Args:
        splits: ``"train"``, ``"val"`` and ``"test"``, each a source and its labels ``[N]``, -100 for none. A validation
            or test split that is not there is taken from the labelled training images.
        num_classes: Number of classes.
        image_size: Height and width of what the networks see.
        resize: What the shorter side is brought to before the middle is cut out; ``image_size`` if not given.
        random_crop: Least and most share of the area that a training crop has, for example ``(0.08, 1.0)``; ``None``
            for the middle in training as well.
        channels: 3 for colour, 1 for grey.
        on_corrupt: What to do about an image that cannot be read: ``"raise"`` an error that names it, or ``"skip"`` it.
        val_samples: How many training images become validation images where there are none: a tenth if not given.
        test_samples: The same for the test.
        split_seed: Decides which.
        workers: Processes that decode: as many as there are processors for this one, at most 8, if not given.
        seed: Decides the order, which samples are chosen, and the random crops.
        options: Of :class:`~lightning_distill.data.module.BaseDataModule`.

    Raises:
        ValueError: If a number is out of range, or there are too few images to take a split from.
    """

    def __init__(
        self,
        splits: dict[str, tuple[ImageSource, Tensor]],
        *,
        num_classes: int,
        image_size: int = 224,
        resize: int | None = None,
        random_crop: tuple[float, float] | None = None,
        channels: int = 3,
        on_corrupt: str = "raise",
        val_samples: int | None = None,
        test_samples: int | None = None,
        split_seed: int = 0,
        workers: int | None = None,
        seed: int = 0,
        **options: Any,
    ) -> None:
        check_count("image_size", image_size, 1)
        check_count("resize", image_size if resize is None else resize, image_size)
        check_choice("channels", channels, MODES)
        if random_crop is not None and not (len(random_crop) == 2 and 0 < random_crop[0] <= random_crop[1] <= 1):
            raise ValueError(
                f"Expected `random_crop` to be the least and the most share of the area, in (0, 1], but got "
                f"{random_crop!r}. Pass (0.08, 1.0), or None for the middle of every image."
            )
        crop = None if random_crop is None else (float(random_crop[0]), float(random_crop[1]))
        view = View(image_size, image_size if resize is None else resize, channels, crop, seed)
        samples, start = {}, 0
        for name, (source, target) in splits.items():
            ids = torch.arange(start, start + len(source))
            samples[name] = ImageSamples(source, target, ids, view, on_corrupt)
            start += len(source)
        for name, size in {"test": test_samples, "val": val_samples}.items():
            if name not in samples:
                kept, chosen = take_split(name, samples["train"].target, size, split_seed)
                samples["train"], samples[name] = samples["train"].subset(kept), samples["train"].subset(chosen)
        self._parts = samples
        super().__init__(
            samples["train"],
            samples["val"],
            samples["test"],
            num_classes=num_classes,
            seed=seed,
            workers=default_workers() if workers is None else workers,
            **options,
        )
        self.split_seed = split_seed

    @property
    def unreadable(self) -> list[str]:
        """Names of the images that were skipped so far, over all splits, as far as this process reads them."""
        return [name for part in self._parts.values() for name in part.unreadable]

    def teardown(self, stage: str) -> None:
        super().teardown(stage)
        names = self.unreadable
        if names:
            shown = ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
            total = sum(len(part) for part in self._parts.values())
            warnings.warn(f"Left out {len(names)} of {total} images that cannot be read: {shown}", stacklevel=2)


def default_workers() -> int:
    """Processes that decode where nobody says how many."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, MOST_WORKERS)
