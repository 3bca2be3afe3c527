"""A Lightning data module over tensors in memory."""

from __future__ import annotations

from typing import Any

from lightning_distill.data.dataset import InMemoryDataset
from lightning_distill.data.module import BaseDataModule


class TensorDataModule(BaseDataModule):
    """Serves tensors, whole batches at a time: no sample is touched by Python on its own.

    Images may be uint8: they stay so in memory, and batches hold floats in [0, 1], augmented and normalised.

    Args:
        train: ``(inputs, target)``, ``(inputs, target, sample_ids)``, a ``Batch`` or a mapping: ``[N, ...]`` each.
            Without ids a sample's id is its position here, also where ``train_samples`` chooses a few.
        val: The same, for validation.
        test: The same, for the test; ``None`` where there is none.
        num_classes: Number of classes.
        options: Of :class:`~lightning_distill.data.module.BaseDataModule`.

    Raises:
        TypeError: If samples are not tensors.
        ValueError: If lengths do not fit, a number is out of range, or a label is no class.

    Example:
        >>> import torch
        >>> samples = (torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2]))
        >>> data = TensorDataModule(samples, samples, num_classes=3, batch_size=4)
        >>> [len(batch.target) for batch in data.train_dataloader()], list(data.example_input.shape)
        ([4, 2], [2, 4])
    """

    def __init__(self, train: Any, val: Any, test: Any = None, *, num_classes: int, **options: Any) -> None:
        super().__init__(
            InMemoryDataset(train, "train"),
            InMemoryDataset(val, "val"),
            None if test is None else InMemoryDataset(test, "test"),
            num_classes=num_classes,
            **options,
        )
