"""Arrays from files that hold nothing else, found by the usual names."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lightning_distill.types import INPUT_KEYS, TARGET_KEYS, describe

SPLITS = {
    "train": ("train", "training", "tr"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "te"),
    "transfer": ("transfer", "unlabelled", "unlabeled", "extra"),
}
INPUT_NAMES = (*INPUT_KEYS, "data", "features", "pixels")
TARGET_NAMES = (*TARGET_KEYS, "classes")


def read_arrays(path: Path) -> dict[str, Any]:
    """Every array in a file, or in the files of a folder, by name; those of a mapping in it as ``outer_inner``.

    ``.npy`` files in a folder are mapped into memory: what is not needed is not read.

    Raises:
        FileNotFoundError: If there is no such file or folder, or the folder holds no arrays.
        ValueError: If a file is damaged, or holds Python objects, which only unpickling could read.
    """
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in READERS)
        found = {name: array for file in files for name, array in _with_file_name(file).items()}
        if found:
            return found
    elif path.is_file() and path.suffix in READERS:
        return _read(path)
    what = "holds none" if path.is_dir() else "has another ending" if path.is_file() else "is not there"
    raise FileNotFoundError(
        f"Expected `source` to name a file of arrays ({', '.join(READERS)}) or a folder of them, but {path.absolute()} "
        f"{what}."
    )


def _with_file_name(file: Path) -> dict[str, Any]:
    """``x_train.npy`` is ``x_train``; what is in ``train.npz`` is ``train_x`` and ``train_y``."""
    arrays = _read(file)
    return {file.stem: arrays[""]} if set(arrays) == {""} else {f"{file.stem}_{name}": a for name, a in arrays.items()}


def _read(file: Path) -> dict[str, Any]:
    try:
        return _flat(READERS[file.suffix](file))
    except (OSError, ValueError, EOFError, RuntimeError, SafetensorError, UnpicklingError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"Expected {file} to hold plain arrays, but it is damaged or needs unpickling, which could run any code: "
            f"{reason} Save plain arrays: numpy.savez, or safetensors."
        ) from error


def _npz(file: Path) -> dict[str, Any]:
    with file.open("rb") as opened, np.load(opened, allow_pickle=False) as content:
        return {name: content[name] for name in content.files}


def _npy(file: Path) -> dict[str, Any]:
    # "c", copy on write: torch takes no read-only memory, and the file still stays as it is.
    return {"": np.load(file, mmap_mode="c", allow_pickle=False)}


def _pt(file: Path) -> Any:
    return torch.load(file, map_location="cpu", weights_only=True)


READERS: dict[str, Callable[[Path], Any]] = {
    ".npz": _npz,
    ".npy": _npy,
    ".safetensors": load_file,
    ".pt": _pt,
    ".pth": _pt,
}


def _flat(content: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(content, Mapping):
        named = ((f"{prefix}_{key}" if prefix else str(key), value) for key, value in content.items())
        return {name: array for key, value in named for name, array in _flat(value, key).items()}
    if isinstance(content, (tuple, list)) and 1 <= len(content) <= 2 and all(_is_array(part) for part in content):
        return {f"{prefix}_{key}".lstrip("_"): part for key, part in zip(("x", "y"), content, strict=False)}
    if _is_array(content):
        return {prefix: content}
    raise ValueError(f"{prefix or 'it'} holds {describe(content)}.")


def _is_array(value: Any) -> bool:
    return isinstance(value, (np.ndarray, Tensor))


def splits_of(arrays: Mapping[str, Any], where: str) -> dict[str, tuple[Tensor, Tensor | None]]:
    """Inputs and labels of each split: ``x_train``, ``train_images``, ``y_val``, ``test_labels`` ...

    Arrays without a split's name are the training samples.

    Raises:
        ValueError: If there are no training inputs or an array's part is unclear, with what was found.

    Example:
        >>> arrays = {"X_train": torch.zeros(4, 2), "y_train": torch.zeros(4), "x_valid": torch.zeros(2, 2)}
        >>> {split: (len(x), y is None) for split, (x, y) in splits_of(arrays, "arrays").items()}
        {'train': (4, False), 'val': (2, True)}
    """
    parts: dict[tuple[str, bool], str] = {}
    for name in _flat(dict(arrays)):
        key = _part(name)
        if key is None or key in parts:
            other = "" if key is None else f" beside {parts[key]!r}"
            raise ValueError(_unclear(where, arrays, f"what {name!r} is{other} is not clear"))
        parts[key] = name
    if ("train", False) not in parts:
        raise ValueError(_unclear(where, arrays, "there are no training inputs"))
    flat = _flat(dict(arrays))
    tensors = {key: as_tensor(flat[name], name) for key, name in parts.items()}
    return {split: (tensors[split, False], tensors.get((split, True))) for split in SPLITS if (split, False) in tensors}


def _part(name: str) -> tuple[str, bool] | None:
    """``(split, whether labels)``, or ``None`` if the name says neither."""
    words = [word for word in re.split(r"[^a-z0-9]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()) if word]
    joined = re.fullmatch(r"([xy])(train|val|valid|test)", words[0]) if len(words) == 1 else None
    words = list(joined.groups()) if joined else words
    split = next((split for split, names in SPLITS.items() if any(word in names for word in words)), "train")
    rest = [word for word in words if word not in SPLITS[split]]
    if rest and rest[-1] in TARGET_NAMES:
        return split, True
    return (split, False) if not rest or rest[-1] in INPUT_NAMES else None


def _unclear(where: str, arrays: Mapping[str, Any], reason: str) -> str:
    return (
        f"Expected {where} to hold arrays named as x_train, y_train, x_val, y_val, x_test, y_test (or train_images, "
        f"train_labels and the like), but {reason}. Found: {', '.join(map(str, arrays)) or 'nothing'}."
    )


def as_tensor(array: Any, name: str) -> Tensor:
    """An array as a tensor that shares its memory where it can.

    Raises:
        ValueError: If it holds something that is no number.
    """
    if isinstance(array, Tensor):
        return array
    if array.dtype.kind not in "biuf":
        raise ValueError(f"Expected {name!r} to hold numbers, but got {array.dtype}. Encode it as numbers first.")
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.astype(np.int64)  # torch has little to offer for wide unsigned integers
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    return torch.from_numpy(native if native.flags.writeable else native.copy())
