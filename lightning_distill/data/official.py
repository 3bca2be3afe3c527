"""Data sets that come as a training and a test file: the validation samples are taken from the training file."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import torch

from lightning_distill.data.module import check_count
from lightning_distill.data.split import stratified_choice
from lightning_distill.data.tensors import TensorDataModule
from lightning_distill.types import Batch


class OfficialDataModule(TensorDataModule):
    """Images ``[C, H, W]`` in memory, with the official test file as the test split.

    Files that exist are used and no network is asked. A sample's id is its row in the training file; the test file's
    rows are counted on from there.

    Args:
        root: Folder that holds the files, or that they are downloaded to.
        download: Download what is missing.
        val_samples: How many of the training file's samples are for validation, each class in its share.
        split_seed: Decides which.
        channels: 3 repeats grey images for networks that expect colour; ``None`` for images as they are.
        normalize: Use the mean and standard deviation of this data set; ``mean`` and ``std`` given come first.
        options: Of :class:`~lightning_distill.data.module.BaseDataModule`.

    Raises:
        FileNotFoundError: If files are missing, with where they were looked for and how to put them there.
        ValueError: If a file is damaged or a number is out of range.
    """

    names: ClassVar[tuple[str, ...]]
    own_mean: ClassVar[tuple[float, ...]]
    own_std: ClassVar[tuple[float, ...]]

    def __init__(
        self,
        root: str | Path = "data",
        *,
        download: bool = True,
        val_samples: int = 5000,
        split_seed: int = 0,
        channels: int | None = None,
        normalize: bool = True,
        **options: Any,
    ) -> None:
        check_count("val_samples", val_samples, 1)
        check_count("split_seed", split_seed, 0)
        train, test = _read(type(self).read, Path(root).expanduser().absolute(), download)
        labels = train.target
        if labels is None or not len(self.names) <= val_samples <= len(labels) - len(self.names):
            raise ValueError(
                f"Expected `val_samples` to leave and to take at least one sample of each class, from "
                f"{len(self.names)} to {len(train.inputs) - len(self.names)}, but got {val_samples}."
            )
        chosen = stratified_choice(labels, val_samples, split_seed)
        kept = torch.ones(len(labels), dtype=torch.bool)
        kept[chosen] = False
        parts = (_with_channels(part, channels) for part in (_rows(train, kept), _rows(train, chosen), test))
        own = {"mean": self.own_mean, "std": self.own_std} if normalize else {}
        super().__init__(*parts, num_classes=len(self.names), **{"class_names": self.names, **own, **options})
        self.root, self.split_seed = str(root), split_seed

    @classmethod
    @abstractmethod
    def read(cls, root: Path, download: bool) -> tuple[Batch, Batch]:
        """The samples of the training and the test file, uint8 ``[N, C, H, W]`` and ``[N]``, without ids."""


@lru_cache(maxsize=2)  # teacher and student are built with a module each
def _read(read: Callable[[Path, bool], tuple[Batch, Batch]], root: Path, download: bool) -> tuple[Batch, Batch]:
    train, test = read(root, download)
    for name, (images, labels, *_) in {"training": train, "test": test}.items():
        if labels is None or len(images) != len(labels) or not len(images):
            raise ValueError(
                f"Expected the {name} files in {root} to hold a label for each image, but got {len(images)} images and "
                f"{0 if labels is None else len(labels)} labels. Remove them and download them again."
            )
    size = len(train.inputs)
    ids = torch.arange(size + len(test.inputs))
    return train._replace(sample_ids=ids[:size]), test._replace(sample_ids=ids[size:])


def _rows(samples: Batch, where: torch.Tensor) -> Batch:
    return Batch(*(None if part is None else part[where] for part in samples))


def _with_channels(samples: Batch, channels: int | None) -> Batch:
    images = samples.inputs
    if channels in (None, images.shape[1]):
        return samples
    if channels != 3 or images.shape[1] != 1:
        raise ValueError(
            f"Expected `channels` to be {images.shape[1]}{' or 3' if images.shape[1] == 1 else ''}, but got {channels}."
        )
    return samples._replace(inputs=images.expand(-1, 3, -1, -1))


def missing(name: str, root: Path, wanted: str, looked: list[Path], way_out: str, cause: Any = None) -> str:
    """The message for files that are not there.

    Args:
        name: Of the data set.
        root: The folder that was given.
        wanted: The files.
        looked: Folders that were looked into.
        way_out: Where to get them.
        cause: What a download failed with, if one was tried.
    """
    tried = "" if cause is None else f" Downloading them failed: {str(cause).strip().splitlines()[-1]}."
    folders = ", ".join(str(folder) for folder in looked)
    return (
        f"Expected `root` to hold the files of {name}, but {root} does not: looked for {wanted} in {folders}.{tried} "
        f"{way_out}"
    )
