"""Handwritten digits, 8 x 8 pixels, that come with scikit-learn (https://archive.ics.uci.edu/dataset/80)."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from lightning_distill.data.module import check_count
from lightning_distill.data.split import stratified_choice
from lightning_distill.data.tensors import TensorDataModule
from lightning_distill.types import Batch

VAL_SAMPLES = TEST_SAMPLES = 225  # an eighth each of the 1,797; 1,347 stay for training
PIXEL_RANGE = 16.0  # pixels count the dark points of a 4 x 4 cell: 0 to 16


class DigitsDataModule(TensorDataModule):
    """1,797 grey digits ``[1, 8, 8]`` in [0, 1], split into 1,347 for training, 225 for validation and 225 for test.

    Nothing is downloaded. Every split holds each class in its share. A sample's id is its row in the data set, 0 to
    1796, in every split.

    Args:
        batch_size: Samples per batch and process.
        train_samples: Train on this many samples only, chosen by ``seed``; from 10 to 1,347, ``None`` for all.
        seed: Decides the order, and which training samples are chosen. Validation and test do not depend on it.
        split_seed: Decides the three splits.
        options: Of :class:`~lightning_distill.data.module.BaseDataModule`: ``augment``, ``mean``, ``sampler`` ...

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> data = DigitsDataModule(train_samples=100)
        >>> len(data.train_dataset), len(data.full().train_dataset), list(data.example_input.shape)
        (100, 1347, [2, 1, 8, 8])
    """

    def __init__(
        self,
        batch_size: int = 64,
        train_samples: int | None = None,
        seed: int = 0,
        split_seed: int = 0,
        **options: Any,
    ) -> None:
        check_count("split_seed", split_seed, 0)
        train, val, test = _splits(split_seed)
        super().__init__(
            train,
            val,
            test,
            num_classes=10,
            batch_size=batch_size,
            train_samples=train_samples,
            seed=seed,
            class_names=[str(digit) for digit in range(10)],
            **options,
        )
        self.split_seed = split_seed


@cache
def _splits(split_seed: int) -> tuple[Batch, Batch, Batch]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.from_numpy(digits.images).to(torch.float32).unsqueeze(1) / PIXEL_RANGE
    labels = torch.from_numpy(digits.target).long()
    rest = torch.arange(len(labels))
    parts = []
    for part, size in enumerate((TEST_SAMPLES, VAL_SAMPLES)):
        chosen = stratified_choice(labels[rest], size, (split_seed, part))
        parts.append(rest[chosen])
        kept = torch.ones(len(rest), dtype=torch.bool)
        kept[chosen] = False
        rest = rest[kept]
    test, val = (Batch(images[rows], labels[rows], rows) for rows in parts)
    return Batch(images[rest], labels[rest], rest), val, test
