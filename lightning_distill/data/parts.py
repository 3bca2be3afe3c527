"""Splits in memory: give every sample an id, and take splits that are not there from the training samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lightning_distill.data.split import take_split
from lightning_distill.types import Batch

ORDER = ("train", "transfer", "val", "test")


def take_parts(named: Mapping[str, tuple[Any, Tensor]], sizes: Mapping[str, int | None], seed: int) -> dict[str, Batch]:
    """Training, validation and test samples with ids.

    Args:
        named: Inputs, a tensor or a mapping of tensors, and labels, by split; ``train`` at least, which ``transfer``
            joins.
        sizes: Of the splits that are taken from training where they are not there; ``None`` for a tenth.
        seed: Decides which.

    Raises:
        ValueError: If there are too few training samples.

    Example:
        >>> parts = take_parts({"train": (torch.zeros(40, 1), torch.arange(40) % 2)}, {"test": 4, "val": None}, seed=0)
        >>> {name: len(part.sample_ids) for name, part in parts.items()}
        {'train': 33, 'test': 4, 'val': 3}
    """
    parts: dict[str, Batch] = {}
    start = 0
    for name in ORDER:
        if name in named:
            inputs, target = named[name]
            parts[name] = Batch(inputs, target, torch.arange(start, start + len(target)))
            start += len(target)
    for name, size in sizes.items():
        if name not in parts:
            whole = parts["train"]
            kept, chosen = take_split(name, whole.target, size, seed)  # type: ignore[arg-type] # ours have labels
            parts["train"], parts[name] = _rows(whole, kept), _rows(whole, chosen)
    if "transfer" in parts:
        parts["train"] = _joined(parts["train"], parts.pop("transfer"))
    return parts


def _rows(part: Batch, positions: Tensor) -> Batch:
    inputs, target, ids, _ = part
    cut = {name: values[positions] for name, values in inputs.items()} if isinstance(inputs, Mapping) else None
    return Batch(inputs[positions] if cut is None else cut, target[positions], ids[positions])  # type: ignore[index]


def _joined(first: Batch, second: Batch) -> Batch:
    return Batch(*(torch.cat(pair) for pair in zip(first[:3], second[:3], strict=True)))
