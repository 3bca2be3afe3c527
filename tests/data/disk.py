"""Tiny data sets in the formats in which the real ones come."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision
from PIL import Image

from tests.configs import composed

TRAIN, TEST = 60, 20


def images(count: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def labels(count: int, classes: int) -> np.ndarray:
    return (np.arange(count) % classes).astype(np.uint8)


def write_idx(path: Path, array: np.ndarray) -> None:
    """Two zero bytes, the type (8: bytes), the number of dimensions, each of them big-endian, the bytes."""
    content = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_mnist(folder: Path, ending: str = ".gz") -> Path:
    """The four files of MNIST and Fashion-MNIST."""
    for split, count, seed in (("train", TRAIN, 0), ("t10k", TEST, 1)):
        write_idx(folder / f"{split}-images-idx3-ubyte{ending}", images(count, 28, 28, seed=seed))
        write_idx(folder / f"{split}-labels-idx1-ubyte{ending}", labels(count, 10))
    return folder


def write_cifar(folder: Path, monkeypatch: pytest.MonkeyPatch, classes: int = 10) -> Path:
    """The pickles of CIFAR-10 or CIFAR-100; torchvision is told their checksums instead of the real ones."""
    kind = torchvision.datasets.CIFAR10 if classes == 10 else torchvision.datasets.CIFAR100
    key = "labels" if classes == 10 else "fine_labels"
    place = folder / kind.base_folder
    place.mkdir(parents=True)
    count = max(TRAIN, 3 * classes)
    pixels, target = images(count, 3 * 32 * 32), labels(count, classes).tolist()
    train_list = [name for name, _ in kind.train_list]
    share = count // len(train_list)
    for index, name in enumerate(train_list):
        where = slice(index * share, (index + 1) * share)
        _pickle(place / name, {"data": pixels[where], key: target[where]})
    _pickle(place / kind.test_list[0][0], {"data": images(TEST, 3072, seed=1), key: labels(TEST, classes).tolist()})
    names = [f"class {label}" for label in range(classes)]
    _pickle(place / kind.meta["filename"], {kind.meta["key"]: names})
    monkeypatch.setattr(kind, "train_list", [[name, _md5(place / name)] for name in train_list])
    monkeypatch.setattr(kind, "test_list", [[name, _md5(place / name)] for name, _ in kind.test_list])
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": _md5(place / kind.meta["filename"])})
    return folder


def write_classes(folder: Path, classes: int = 5) -> Path:
    """``train/`` and ``val/`` with a folder for each class."""
    for split, count in {"train": 8, "val": 2}.items():
        for number in range(classes):
            place = folder / split / f"class{number}"
            place.mkdir(parents=True)
            for index, pixels in enumerate(images(count, 40, 40, 3, seed=number)):
                Image.fromarray(pixels).save(place / f"{index}.png")
    return folder


def _pickle(path: Path, content: dict[str, Any]) -> None:
    path.write_bytes(pickle.dumps(content, protocol=2))  # the real ones come from Python 2


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> list[str]:
    """Overrides that give a config whose data is not bundled a tiny stand-in, written to ``folder``."""
    target = composed(*overrides).data["_target_"].rpartition(".")[2]
    few = ["data.val_samples=20"]
    if target in ("MNISTDataModule", "FashionMNISTDataModule"):
        return [f"data.root={write_mnist(folder)}", *few]
    if target == "CIFAR10DataModule":
        return [f"data.root={write_cifar(folder, monkeypatch)}", *few]
    if target == "CIFAR100DataModule":
        return [f"data.root={write_cifar(folder, monkeypatch, 100)}", "data.val_samples=100"]
    if target == "ImageFolderDataModule":
        small = ["data.image_size=32", "data.resize=36", "data.workers=0"]
        untrained = ["teacher.model.pretrained=false", "teacher.model.model_name=test_resnet"]
        return [f"data.root={write_classes(folder)}", *small, *untrained]
    return []
