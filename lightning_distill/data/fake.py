"""Generated images that can be learned: for tests, examples and timings."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_distill.checks import check_fraction
from lightning_distill.data.module import check_count
from lightning_distill.data.tensors import TensorDataModule

GRID = 4  # a class's pattern has so many cells in each direction


class FakeDataModule(TensorDataModule):
    """Noisy images of one smooth pattern per class, uint8 ``[channels, image_size, image_size]``.

    The first classes have equally many samples; with ``imbalance`` the last has that share of the first one's.

    Args:
        num_classes: Number of classes.
        image_size: Height and width.
        channels: Of the images.
        samples: For training.
        val_samples: For validation.
        test_samples: For the test.
        noise: How much of an image is noise, in [0, 1]: 0 for the bare patterns, 1 for nothing to learn.
        imbalance: Samples of the last class as a share of those of the first, in (0, 1]; the counts between fall
            geometrically.
        data_seed: Decides the images.
        options: Of :class:`~lightning_distill.data.module.BaseDataModule`.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> data = FakeDataModule(num_classes=3, image_size=8, samples=30)
        >>> list(data.example_input.shape), torch.bincount(data.train_dataset.target).tolist()
        ([2, 3, 8, 8], [10, 10, 10])
    """

    def __init__(
        self,
        num_classes: int = 10,
        image_size: int = 32,
        channels: int = 3,
        samples: int = 1000,
        val_samples: int = 200,
        test_samples: int = 200,
        noise: float = 0.5,
        imbalance: float = 1.0,
        data_seed: int = 0,
        **options: object,
    ) -> None:
        counts = {"samples": samples, "val_samples": val_samples, "test_samples": test_samples}
        for name, value in {"num_classes": num_classes, **counts}.items():
            check_count(name, value, 1 if name == "num_classes" else num_classes)
        check_count("image_size", image_size, 1)
        check_count("channels", channels, 1)
        check_count("data_seed", data_seed, 0)
        check_fraction("noise", noise)
        check_fraction("imbalance", imbalance)
        patterns = _patterns(num_classes, channels, image_size, data_seed)
        splits, start = [], 0
        for index, size in enumerate(counts.values()):
            target = _labels(num_classes, size, imbalance)
            images = _images(patterns, target, noise, (data_seed, index + 1))
            splits.append((images, target, torch.arange(start, start + size)))
            start += size
        super().__init__(*splits, num_classes=num_classes, **options)


def _patterns(classes: int, channels: int, size: int, seed: int) -> Tensor:
    grid = np.random.default_rng((seed, 0)).random((classes, channels, GRID, GRID), dtype=np.float32)
    return F.interpolate(torch.from_numpy(grid), size=(size, size), mode="bilinear", align_corners=False)


def _labels(classes: int, size: int, imbalance: float) -> Tensor:
    """Labels in turns, so that the first few samples hold every class; rare classes end first."""
    shares = max(imbalance, 1e-9) ** (np.arange(classes) / max(classes - 1, 1))
    counts = np.maximum(np.floor(shares / shares.sum() * size), 1).astype(int)
    counts[0] += size - counts.sum()
    turns = [(turn / counts[label], label) for label in range(classes) for turn in range(counts[label])]
    return torch.tensor([label for _, label in sorted(turns)])


def _images(patterns: Tensor, target: Tensor, noise: float, seed: tuple[int, int]) -> Tensor:
    shape = (len(target), *patterns.shape[1:])
    random = torch.from_numpy(np.random.default_rng(seed).random(shape, dtype=np.float32))
    mixed = (1 - noise) * patterns[target] + noise * random
    return (mixed * 255).round_().to(torch.uint8)
