"""Data sets of the library ``datasets`` (https://huggingface.co/docs/datasets): local folders and files, or the hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_distill.data.labels import NO_LABEL

SPLITS = {"train": ("train",), "val": ("validation", "val", "valid", "dev"), "test": ("test",)}
LABEL_COLUMNS = ("label", "labels", "target", "fine_label", "class", "y")
BUILDERS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
SAVED = ("dataset_dict.json", "state.json")  # what `save_to_disk` leaves


def load_splits(
    path: str | Path, name: str | None = None, revision: str | None = None, cache_dir: str | Path | None = None
) -> dict[str, Any]:
    """The splits ``train``, ``val`` and ``test`` of a data set, as far as it has them.

    Args:
        path: A folder that ``save_to_disk`` wrote, a folder of data files (csv, json, parquet, images), one such file,
            or a name on the hub.
        name: Of the configuration, where a data set has several.
        revision: Of a data set on the hub.
        cache_dir: Where prepared data are kept; the library's own folder if not given.

    Raises:
        FileNotFoundError: If there is no such data set, with where it was looked for.
        ValueError: If it has no training split.
        ModuleNotFoundError: If the library is not installed.
    """
    loaded = _load(str(path), name, revision, cache_dir)
    splits = dict(loaded) if hasattr(loaded, "keys") else {"train": loaded}
    found = {ours: next((splits[n] for n in names if n in splits), None) for ours, names in SPLITS.items()}
    if found["train"] is None:
        raise ValueError(f"Expected {path} to have a split `train`, but got {', '.join(map(str, splits))}.")
    return {ours: split for ours, split in found.items() if split is not None}


def _load(path: str, name: str | None, revision: str | None, cache_dir: str | Path | None) -> Any:
    try:
        import datasets  # type: ignore[import-not-found,unused-ignore]
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"Expected the library `datasets` to be installed, but got: {error}. Install it: pip install "
            "'lightning-distill[hf]'",
            name=error.name,
        ) from error
    local = Path(path).expanduser()
    options: dict[str, Any] = {"cache_dir": None if cache_dir is None else str(cache_dir)}
    try:
        if any((local / file).is_file() for file in SAVED):
            return datasets.load_from_disk(str(local))
        if local.is_file():
            if local.suffix not in BUILDERS:
                raise ValueError(
                    f"Expected `path` to name a file that ends in {', '.join(BUILDERS)}, a folder or a data set on the "
                    f"hub, but got {path}."
                )
            more = {"sep": "\t"} if local.suffix == ".tsv" else {}
            return datasets.load_dataset(BUILDERS[local.suffix], data_files=str(local), **more, **options)
        return datasets.load_dataset(str(local) if local.is_dir() else path, name, revision=revision, **options)
    except OSError as error:  # what the library raises for missing files, and without a network
        folder = cache_dir or datasets.config.HF_DATASETS_CACHE
        reason = str(error).strip().splitlines()[0]
        raise FileNotFoundError(
            f"Expected `path` to name a data set, but {path!r} was not found: looked for a folder or file "
            f"{local.absolute()}, for an earlier download in {folder}, and on the hub: {reason}. Without a network, "
            "put the data there: csv, json or parquet files, images in class folders, or what `save_to_disk` writes."
        ) from error


def find_column(features: Any, wanted: str | None, usual: Sequence[str], what: str, argument: str) -> str:
    """The column that is named, or the first of the usual ones.

    Raises:
        ValueError: If it is not there, with the columns that are.
    """
    names = list(features)
    found = wanted if wanted in names else next((n for n in usual if n in names), None) if wanted is None else None
    if found is None:
        got = "none of the usual names is there" if wanted is None else f"got {wanted!r}"
        raise ValueError(
            f"Expected a column of {what}, but {got}. Columns: {', '.join(names)}. Name it: {argument}=..."
        )
    return found


def read_labels(splits: dict[str, Any], label_column: str | None) -> tuple[dict[str, Tensor], list[str], str]:
    """Labels ``[N]`` of each split, the classes' names, and the column; -100 where a label is missing or -1.

    Names become numbers in the order of the class list where there is one, else in rising order.

    Raises:
        ValueError: If the labels are neither numbers nor names.
    """
    features = splits["train"].features
    column = find_column(features, label_column, LABEL_COLUMNS, "labels", "label_column")
    names = getattr(features[column], "names", None)
    values = {split: list(data[column]) for split, data in splits.items()}
    if names is None:
        kinds = {type(value) for value in values["train"] if value is not None}
        if not kinds or not kinds <= {str, int, bool}:
            raise ValueError(
                f"Expected the labels in {column!r} to be whole numbers or names, but got "
                f"{', '.join(sorted(kind.__name__ for kind in kinds)) or 'none'}. Choose another: label_column=..."
            )
        if kinds == {str}:
            names = sorted({value for value in values["train"] if value is not None})
        else:
            names = [str(number) for number in range(max(int(v) for v in values["train"] if v is not None) + 1)]
            values = {split: [v if v is None else int(v) for v in vs] for split, vs in values.items()}
    numbers = {name: number for number, name in enumerate(names)}
    labels = {split: torch.tensor([_number(v, numbers, split) for v in vs]) for split, vs in values.items()}
    return labels, [str(name) for name in names], column


def _number(value: Any, numbers: dict[str, int], split: str) -> int:
    if value is None or value == -1:  # the hub's mark for labels that are kept secret
        return NO_LABEL
    if isinstance(value, str):
        if value not in numbers:
            raise ValueError(f"Expected the labels of `{split}` to occur in training, but got {value!r}.")
        return numbers[value]
    return int(value)


def evaluable(splits: dict[str, Any], labels: dict[str, Tensor]) -> list[str]:
    """The splits that can be used: validation and test need labels, which some test splits on the hub lack."""
    return [split for split in splits if split == "train" or bool((labels[split] != NO_LABEL).any())]
