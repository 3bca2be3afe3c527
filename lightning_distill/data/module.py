"""What every data module shares: order, shares, choice of samples, preparation."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from typing_extensions import Self

from lightning_distill.checks import check_choice
from lightning_distill.data.balance import BalancedDraw, class_weights
from lightning_distill.data.dataset import keep_batch
from lightning_distill.data.labels import NO_LABEL, check_labels
from lightning_distill.data.prepare import Augment, Prepare, PreparedDataset, Samples
from lightning_distill.data.sampler import EpochSampler, even_batch_size, process_share
from lightning_distill.data.split import stratified_choice
from lightning_distill.engine import pl
from lightning_distill.types import Batch


class BaseDataModule(pl.LightningDataModule):
    """Serves three sets of samples as :class:`~lightning_distill.types.Batch`.

    The order of an epoch depends on ``(seed, epoch)`` alone. With several processes each sees its own share: training
    shares are equally long, and validation and test count every sample once (see
    :class:`~lightning_distill.data.sampler.EpochSampler`). A last training batch of a single sample is left out,
    because BatchNorm cannot train on one; any other last batch is used.

    Args:
        train: Samples to train on.
        val: For validation.
        test: For the test; ``None`` where there is none.
        num_classes: Number of classes.
        batch_size: Samples per batch and process.
        train_samples: Train on this many labelled samples only, chosen by ``seed`` with every class in its share; needs
            class indices ``[N]`` as the target. ``None`` trains on all. Samples without a label are not counted.
        seed: Decides the order, and which samples are chosen.
        class_names: One per class.
        mean: Of the images, per channel: batches hold ``(image - mean) / std``. ``None`` for images as they are.
        std: Of the images, per channel.
        augment: Changes training images, ``(images, sample_ids, epoch) -> images``, before they are normalised.
        sampler: ``"balanced"`` shows every class equally often, ``"sqrt"`` in the proportion of the square root of its
            count; ``None`` shows every sample once per epoch.
        repeats: How often in a row a sample is seen, in views of their own; an epoch stays as long, with so many times
            fewer samples. 3 in DeiT; see :class:`~lightning_distill.data.sampler.EpochSampler`.
        prepare_on: Where batches are augmented and normalised: ``"loader"`` does it before they are moved, ``"device"``
            after, which moves a quarter of the bytes of uint8 images and leaves the CPU idle. ``"auto"`` chooses the
            device where it is an accelerator, unless images are changed one by one, or repeated. Views are the same.
        workers: Processes that prepare batches; 0 for none, which is fastest where samples are in memory.

    Raises:
        ValueError: If a number is out of range, or a label is no class.
    """

    def __init__(
        self,
        train: Samples,
        val: Samples,
        test: Samples | None,
        *,
        num_classes: int,
        batch_size: int = 64,
        train_samples: int | None = None,
        seed: int = 0,
        class_names: Sequence[str] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        augment: Augment | None = None,
        sampler: str | None = None,
        repeats: int = 1,
        prepare_on: str = "auto",
        workers: int = 0,
    ) -> None:
        super().__init__()
        check_count("num_classes", num_classes, 1)
        check_count("batch_size", batch_size, 1)
        check_count("seed", seed, 0)
        check_count("repeats", repeats, 1)
        check_count("workers", workers, 0)
        check_choice("prepare_on", prepare_on, ("auto", "loader", "device"))
        if prepare_on == "device" and repeats > 1:
            raise ValueError(
                "Expected `prepare_on` to be 'loader' or 'auto' where `repeats` is above 1, since a batch does not "
                "tell one look at a sample from the next, but got 'device'."
            )
        for name, samples in {"train": train, "val": val, "test": test}.items():
            if samples is not None and samples.target is not None:
                check_labels(name, samples.target, num_classes)
        if train_samples is not None:
            _check_train_samples(train_samples, train.target)
        if class_names is not None and len(class_names) != num_classes:
            raise ValueError(
                f"Expected `class_names` to hold `num_classes` = {num_classes} names, but got {len(class_names)}."
            )
        if augment is not None and not (callable(augment) and hasattr(augment, "fingerprint")):
            raise ValueError(
                "Expected `augment` to be (images, sample_ids, epoch) -> images with a `fingerprint()`, but got "
                f"{augment!r}. On a command line it is chosen without `data.`: augment=standard"
            )
        self._train, self._val, self._test = train, val, test
        self._labelled_only = False
        # For losses that read labels: where all samples have one, a step need not look.
        self.has_unlabelled = _is_single_label(train.target) and bool(train.target.eq(NO_LABEL).any())
        self.num_classes = num_classes
        self.batch_size = batch_size
        self.train_samples = train_samples
        self.seed = seed
        self.class_names = None if class_names is None else tuple(class_names)
        self.mean = None if mean is None else tuple(mean)
        self.std = None if std is None else tuple(std)
        self.augment = augment
        self.sampler = sampler
        self.repeats = repeats
        self.prepare_on = prepare_on
        self.workers = workers
        if sampler is not None:
            BalancedDraw(self.train_dataset.target, sampler)  # raises where there is nothing to balance
        first = train.example()
        self._prepare.check(first.inputs, first.teacher_input)

    @property
    def _prepare(self) -> Prepare:
        return Prepare(self.mean, self.std, self.augment)

    @property
    def _prepares_on_device(self) -> bool:
        if self.trainer is None or self.prepare_on != "auto":
            return self.trainer is not None and self.prepare_on == "device"
        vectorized = self.augment is None or getattr(self.augment, "vectorized", False)
        return vectorized and self.repeats == 1 and self.trainer.strategy.root_device.type != "cpu"

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Lightning's hook: prepare what the loader did not."""
        if not self._prepares_on_device or self.trainer is None:
            return batch
        return self._prepare(batch, self.trainer.current_epoch if self.trainer.training else None)

    @property
    def example_input(self) -> Any:
        """The first two training inputs, not augmented: ``[2, ...]``, or a mapping of such tensors."""
        return self._example.inputs

    @property
    def example_teacher_input(self) -> Any:
        """What the teacher sees of the first two training samples, where that is something else; ``None`` if not."""
        return self._example.teacher_input

    @property
    def _example(self) -> Batch:
        return self._prepare(self._train.example(), None)

    @property
    def train_dataset(self) -> Samples:
        """The samples that are trained on."""
        target = self._train.target
        if not _is_single_label(target):
            return self._train
        labelled = target.ne(NO_LABEL)
        chosen, others = torch.nonzero(labelled).flatten(), torch.nonzero(~labelled).flatten()
        if self.train_samples is not None:
            chosen = chosen[stratified_choice(target[chosen], self.train_samples, self.seed)]
        if len(chosen) and self._labelled_only:
            others = others[:0]
        if len(chosen) + len(others) == len(target):
            return self._train
        return self._train.subset(torch.cat([chosen, others]))

    @property
    def dataset_size(self) -> int:
        """Rows that a memory of all training samples needs: ids are below it, also where only a few are used."""
        return int(self._train.sample_ids.max()) + 1

    @property
    def class_weights(self) -> list[float] | None:
        """One per class, inversely proportional to its training samples, with a mean of 1; 0 where it has none.

        ``None`` where the labels are no class indices.
        """
        target = self.train_dataset.target
        if not _is_single_label(target) or not bool(target.ne(NO_LABEL).any()):
            return None
        return class_weights(target, self.num_classes)

    def full(self) -> Self:
        """A copy that trains on all labelled samples: what a teacher sees. Validation and test are the same."""
        other = copy.copy(self)
        other.train_samples, other._labelled_only = None, True
        other.trainer = None
        return other

    def fingerprint(self) -> str:
        """A hash of all that decides a training run: training and validation samples, what is done to them, and seed.

        Two modules that train alike have the same, whatever built them; the test samples do not count.
        """
        augment = None if self.augment is None else self.augment.fingerprint()
        samples = (self.train_dataset.fingerprint(), self._val.fingerprint())
        parts = (*samples, self.batch_size, self.seed, self.mean, self.std, self.sampler, augment, self.repeats)
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def train_dataloader(self) -> DataLoader[Batch]:
        samples = self.train_dataset
        draw = None if self.sampler is None else BalancedDraw(samples.target, self.sampler)
        share = process_share(self.trainer)
        sampler = EpochSampler(
            samples, shuffle=True, seed=self.seed, draw=draw, with_epoch=True, repeats=self.repeats, **share
        )
        if self.trainer is not None:
            # Where a run goes on, Lightning starts the iterator, and with it the workers, before it sets the epoch.
            sampler.set_epoch(self.trainer.current_epoch)
        single = len(sampler) > 1 and len(sampler) % self.batch_size == 1
        return self._loader(samples, sampler, self.batch_size, drop_last=single and self.batch_size > 1)

    def val_dataloader(self) -> DataLoader[Batch]:
        return self._evaluation_loader(self._val)

    def test_dataloader(self) -> DataLoader[Batch]:
        if self._test is None:
            raise ValueError("Expected `test` samples for a test run, but got None. Pass `test` to the data module.")
        return self._evaluation_loader(self._test)

    def _evaluation_loader(self, samples: Samples) -> DataLoader[Batch]:
        sampler = EpochSampler(samples, shuffle=False, **process_share(self.trainer))
        return self._loader(samples, sampler, even_batch_size(len(samples), sampler.num_replicas, self.batch_size))

    def _loader(
        self, samples: Samples, sampler: EpochSampler, batch_size: int, drop_last: bool = False
    ) -> DataLoader[Batch]:
        return DataLoader(
            PreparedDataset(samples, None if self._prepares_on_device else self._prepare),
            batch_size,
            sampler=sampler,
            collate_fn=keep_batch,  # type: ignore[arg-type] # it gets a batch, not a list
            drop_last=drop_last,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            # A loader draws one number per pass: from here, so that the global generator is left as it is.
            generator=torch.Generator(),
        )


def by_hand(data: pl.LightningDataModule) -> pl.LightningDataModule:
    """A copy that belongs to no Trainer, whose loaders yield batches as the networks see them.

    Under a Trainer a data module may leave the last part to the device.
    """
    other = copy.copy(data)
    other.trainer = None
    return other


def check_count(name: str, value: Any, least: int) -> None:
    """Raise unless ``value`` is a whole number of at least ``least``.

    Raises:
        ValueError: If it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"Expected `{name}` to be a whole number of at least {least}, but got {value!r}.")


def _is_single_label(target: Tensor | None) -> TypeGuard[Tensor]:
    return target is not None and target.ndim == 1 and not target.is_floating_point()


def _check_train_samples(train_samples: Any, target: Tensor | None) -> None:
    if not _is_single_label(target):
        raise ValueError(
            "Expected the target of `train` to be class indices [N] where `train_samples` is set, but got "
            f"{'None' if target is None else f'{target.dtype} of shape {list(target.shape)}'}. Choose the samples "
            "yourself and leave `train_samples` at None."
        )
    labelled = target[target.ne(NO_LABEL)]
    least, most = len(torch.unique(labelled)), len(labelled)
    if isinstance(train_samples, bool) or not isinstance(train_samples, int) or not least <= train_samples <= most:
        raise ValueError(
            f"Expected `train_samples` to be a whole number from {least} (one sample per class) to {most} (all), but "
            f"got {train_samples!r}. Leave it at None to train on all samples."
        )
