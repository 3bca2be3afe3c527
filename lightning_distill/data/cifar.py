"""CIFAR-10 and CIFAR-100 (https://www.cs.toronto.edu/~kriz/cifar.html) through torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch

from lightning_distill.data.download import fetch, torchvision_class
from lightning_distill.data.official import OfficialDataModule, missing
from lightning_distill.types import Batch


class CIFAR10DataModule(OfficialDataModule):
    """Colour images ``[3, 32, 32]`` of 10 classes, 50,000 in the training files and 10,000 in the test file.

    torchvision reads the files, after their checksums, from ``root/cifar-10-batches-py``, and downloads them; ``root``
    may also be that folder itself, or hold the archive.

    Arguments are those of :class:`~lightning_distill.data.official.OfficialDataModule`.
    """

    title: ClassVar[str] = "CIFAR-10"
    torchvision_name: ClassVar[str] = "CIFAR10"
    names: ClassVar[tuple[str, ...]] = (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    )
    own_mean, own_std = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)

    @classmethod
    def read(cls, root: Path, download: bool) -> tuple[Batch, Batch]:
        kind = torchvision_class(cls.torchvision_name)
        folder = root.parent if root.name == kind.base_folder else root
        cause = None
        try:
            return cls._load(folder)
        except RuntimeError as error:  # torchvision says neither which file nor where
            if download or (folder / kind.filename).is_file():
                cause = fetch(cls.torchvision_name, folder)
                if cause is None:
                    return cls._load(folder)
            place = folder / kind.base_folder
            wanted = ", ".join(name for name, _ in [*kind.train_list, *kind.test_list]) + " with the right checksums"
            allow = "Allow the download by `download=true`, or put" if cause is None else "To do without, put"
            tip = f"{allow} {kind.filename} ({kind.url}) into {folder}."
            raise FileNotFoundError(missing(cls.title, root, wanted, [place], tip, cause)) from error

    @classmethod
    def _load(cls, folder: Path) -> tuple[Batch, Batch]:
        kind = torchvision_class(cls.torchvision_name)
        train, test = (kind(folder, train=train) for train in (True, False))
        return _samples(train), _samples(test)


class CIFAR100DataModule(CIFAR10DataModule):
    """Colour images ``[3, 32, 32]`` of 100 classes, 50,000 in the training file and 10,000 in the test file.

    ``root`` holds ``cifar-100-python``. Arguments are those of
    :class:`~lightning_distill.data.official.OfficialDataModule`.
    """

    title = "CIFAR-100"
    torchvision_name = "CIFAR100"
    names = tuple(str(label) for label in range(100))
    own_mean, own_std = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)


def _samples(dataset: object) -> Batch:
    images = torch.from_numpy(dataset.data).permute(0, 3, 1, 2).contiguous()  # type: ignore[attr-defined]
    return Batch(images, torch.tensor(dataset.targets))  # type: ignore[attr-defined]
