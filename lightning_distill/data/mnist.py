"""MNIST and Fashion-MNIST (https://arxiv.org/abs/1708.07747) from their idx files."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import ClassVar

from lightning_distill.data.download import fetch
from lightning_distill.data.idx import read_idx
from lightning_distill.data.official import OfficialDataModule, missing
from lightning_distill.types import Batch

# Two files a split; in archives and packages they are gzipped, and some unpackers write a dot for the second dash.
FILES = {split: (f"{split}-images-idx3-ubyte", f"{split}-labels-idx1-ubyte") for split in ("train", "t10k")}


class MNISTDataModule(OfficialDataModule):
    """Grey digits ``[1, 28, 28]``, 60,000 in the training file and 10,000 in the test file.

    The idx files are found in ``root`` itself, in ``root/raw`` and where torchvision puts them,
    ``root/MNIST/raw``; plain or gzipped. torchvision downloads them.

    Arguments: those of :class:`~lightning_distill.data.official.OfficialDataModule`.
    """

    title: ClassVar[str] = "MNIST"
    torchvision_name: ClassVar[str] = "MNIST"
    way_out: ClassVar[str] = "copy the four files there, or set `root` to the folder that has them"
    names = tuple(str(digit) for digit in range(10))
    own_mean, own_std = (0.1307,), (0.3081,)

    @classmethod
    def folders(cls, root: Path) -> list[Path]:
        """Where the files may be."""
        return [root, root / "raw", root / cls.torchvision_name / "raw"]

    @classmethod
    def find(cls, root: Path) -> dict[str, list[Path]] | None:
        """The images' and the labels' file of each split, all in one folder; ``None`` if there is no such folder."""
        for folder, ending in product(cls.folders(root), ("", ".gz")):
            found = {split: [folder / f"{name}{ending}" for name in names] for split, names in FILES.items()}
            if all(path.is_file() for paths in found.values() for path in paths):
                return found
        return None

    @classmethod
    def read(cls, root: Path, download: bool) -> tuple[Batch, Batch]:
        found, cause = cls.find(root), None
        if found is None and download:
            cause = fetch(cls.torchvision_name, root)
            found = cls.find(root)
        if found is None:
            wanted = ", ".join(name for names in FILES.values() for name in names) + " (plain or .gz)"
            start = "Allow the download by `download=true`" if cause is None else "To do without"
            tip = f"{start}, {cls.way_out}."
            raise FileNotFoundError(missing(cls.title, root, wanted, cls.folders(root), tip, cause))
        train, test = (
            Batch(read_idx(images).unsqueeze(1), read_idx(labels).long()) for images, labels in found.values()
        )
        return train, test


class FashionMNISTDataModule(MNISTDataModule):
    """Grey articles of clothing ``[1, 28, 28]``, 60,000 in the training file and 10,000 in the test file.

    The idx files are found in ``root`` itself (Debian's package dataset-fashion-mnist installs such a folder), in
    ``root/raw`` and where torchvision puts them, ``root/FashionMNIST/raw``; plain or gzipped.

    Arguments: those of :class:`~lightning_distill.data.official.OfficialDataModule`.
    """

    title = "Fashion-MNIST"
    torchvision_name = "FashionMNIST"
    way_out = (
        "copy the four files there, or set `root` to the folder that has them: Debian's package dataset-fashion-mnist "
        "installs them in /usr/share/datasets/fashion-mnist"
    )
    names = (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    )
    own_mean, own_std = (0.2860,), (0.3530,)
