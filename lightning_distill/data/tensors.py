"""A Lightning data module over tensors in memory."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from typing_extensions import Self

from lightning_distill.data.dataset import InMemoryDataset, keep_batch
from lightning_distill.data.sampler import EpochSampler, even_batch_size, process_share
from lightning_distill.data.split import stratified_choice
from lightning_distill.engine import pl
from lightning_distill.types import Batch


class TensorDataModule(pl.LightningDataModule):
    """Serves tensors as :class:`~lightning_distill.types.Batch`, whole batches at a time.

    The order of an epoch depends on ``(seed, epoch)`` alone. With several processes each sees its own share: training
    shares are equally long, and validation and test count every sample once (see
    :class:`~lightning_distill.data.sampler.EpochSampler`). A last training batch of a single sample is left out,
    because BatchNorm cannot train on one; any other last batch is used.

    Args:
        train: ``(inputs, target)``, ``(inputs, target, sample_ids)``, a ``Batch`` or a mapping: ``[N, ...]`` each.
            Without ids a sample's id is its position here, also where ``train_samples`` chooses a few.
        val: The same, for validation.
        test: The same, for the test; ``None`` where there is none.
        num_classes: Number of classes.
        batch_size: Samples per batch and process.
        train_samples: Train on this many samples only, chosen by ``seed`` with every class in its share; needs class
            indices ``[N]`` as the target. ``None`` trains on all.
        seed: Decides the order, and which samples are chosen.
        class_names: One per class.

    Raises:
        TypeError: If samples are not tensors.
        ValueError: If lengths do not fit, or a number is out of range.

    Example:
        >>> samples = (torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2]))
        >>> data = TensorDataModule(samples, samples, num_classes=3, batch_size=4)
        >>> [len(batch.target) for batch in data.train_dataloader()], list(data.example_input.shape)
        ([4, 2], [2, 4])
    """

    def __init__(
        self,
        train: Any,
        val: Any,
        test: Any = None,
        *,
        num_classes: int,
        batch_size: int = 64,
        train_samples: int | None = None,
        seed: int = 0,
        class_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        _check_count("num_classes", num_classes, 1)
        _check_count("batch_size", batch_size, 1)
        _check_count("seed", seed, 0)
        self._train = InMemoryDataset(train, "train")
        self._val = InMemoryDataset(val, "val")
        self._test = None if test is None else InMemoryDataset(test, "test")
        if train_samples is not None:
            _check_train_samples(train_samples, self._train.samples.target)
        if class_names is not None and len(class_names) != num_classes:
            raise ValueError(
                f"Expected `class_names` to hold `num_classes` = {num_classes} names, but got {len(class_names)}."
            )
        self.num_classes = num_classes
        self.batch_size = batch_size
        self.train_samples = train_samples
        self.seed = seed
        self.class_names = None if class_names is None else tuple(class_names)

    @property
    def example_input(self) -> Any:
        """The first two training inputs: ``[2, ...]``, or a mapping of such tensors."""
        return self._train[:2].inputs

    @property
    def train_dataset(self) -> InMemoryDataset:
        """The samples that are trained on."""
        if self.train_samples is None:
            return self._train
        target = self._train.samples.target
        if target is None:
            raise ValueError("Expected `train` to hold labels where `train_samples` is set, but it has none.")
        return InMemoryDataset(self._train[stratified_choice(target, self.train_samples, self.seed)], "train")

    @property
    def dataset_size(self) -> int:
        """Rows that a memory of all training samples needs: ids are below it, also where only a few are used."""
        ids = self._train.samples.sample_ids
        return len(self._train) if ids is None else int(ids.max()) + 1

    def full(self) -> Self:
        """A copy that trains on all samples: what a teacher sees. Validation and test are the same."""
        other = copy.copy(self)
        other.train_samples = None
        other.trainer = None
        return other

    def fingerprint(self) -> str:
        """A hash of all that decides a training run: training and validation samples, batch size and seed.

        Two modules that train alike have the same, whatever built them; the test samples do not count.
        """
        parts = (self.train_dataset.fingerprint(), self._val.fingerprint(), self.batch_size, self.seed)
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def train_dataloader(self) -> DataLoader[Batch]:
        dataset = self.train_dataset
        sampler = EpochSampler(dataset, shuffle=True, seed=self.seed, **process_share(self.trainer))
        single = len(sampler) > 1 and len(sampler) % self.batch_size == 1
        return self._loader(dataset, sampler, self.batch_size, drop_last=single and self.batch_size > 1)

    def val_dataloader(self) -> DataLoader[Batch]:
        return self._evaluation_loader(self._val)

    def test_dataloader(self) -> DataLoader[Batch]:
        if self._test is None:
            raise ValueError("Expected `test` samples for a test run, but got None. Pass `test` to the data module.")
        return self._evaluation_loader(self._test)

    def _evaluation_loader(self, dataset: InMemoryDataset) -> DataLoader[Batch]:
        sampler = EpochSampler(dataset, shuffle=False, **process_share(self.trainer))
        return self._loader(dataset, sampler, even_batch_size(len(dataset), sampler.num_replicas, self.batch_size))

    def _loader(
        self, dataset: InMemoryDataset, sampler: EpochSampler, batch_size: int, drop_last: bool = False
    ) -> DataLoader[Batch]:
        return DataLoader(
            dataset,
            batch_size,
            sampler=sampler,
            collate_fn=keep_batch,  # type: ignore[arg-type] # it gets a batch, not a list
            drop_last=drop_last,
            # A loader draws one number per pass: from here, so that the global generator is left as it is.
            generator=torch.Generator(),
        )


def _check_count(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"Expected `{name}` to be a whole number of at least {least}, but got {value!r}.")


def _check_train_samples(train_samples: Any, target: Tensor | None) -> None:
    if target is None or target.ndim != 1 or target.is_floating_point():
        raise ValueError(
            "Expected the target of `train` to be class indices [N] where `train_samples` is set, but got "
            f"{'None' if target is None else f'{target.dtype} of shape {list(target.shape)}'}. Choose the samples "
            "yourself and leave `train_samples` at None."
        )
    least, most = len(torch.unique(target)), len(target)
    if isinstance(train_samples, bool) or not isinstance(train_samples, int) or not least <= train_samples <= most:
        raise ValueError(
            f"Expected `train_samples` to be a whole number from {least} (one sample per class) to {most} (all), but "
            f"got {train_samples!r}. Leave it at None to train on all samples."
        )
