"""What decides a teacher's answers, as hashes: its weights and options, the samples, and what is done to them."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import torch
from torch import Tensor

from lightning_distill.engine import pl
from lightning_distill.teachers.frozen import FrozenTeacher
from lightning_distill.teachers.store import Identity

ADDRESS = re.compile(r"0x[0-9a-fA-F]+")  # of an object, in the description of one that has no better


def identity_of(teacher: FrozenTeacher, data: pl.LightningDataModule, view: str) -> Identity:
    """Whose answers these are, and to what.

    Args:
        teacher: Before a Trainer moves it to another precision, which would make it another teacher.
        data: Declares ``train_dataset`` with a ``fingerprint()``, or has one itself.
        view: ``"augmented"`` or ``"clean"``, to which augmentation does not matter.

    Raises:
        ValueError: If data or augmentation do not say what they are.
    """
    return Identity(teacher_fingerprint(teacher), data_fingerprint(data), transforms_fingerprint(data, view), view)


def teacher_fingerprint(teacher: FrozenTeacher) -> str:
    """A hash of the network's structure, every weight and buffer, and the options that it is asked with.

    Example:
        >>> network = torch.nn.Linear(2, 2)
        >>> before = teacher_fingerprint(FrozenTeacher(network))
        >>> _ = network.weight.data.add_(1e-3)
        >>> before == teacher_fingerprint(FrozenTeacher(network))
        False
    """
    network, digest = teacher.model, hashlib.sha256()
    digest.update(f"{type(network).__module__}.{type(network).__qualname__}".encode())
    # Its layers as they describe themselves: an activation has no weights.
    digest.update(ADDRESS.sub("", repr(network)).encode())
    digest.update(ADDRESS.sub("", repr(sorted(teacher.options.items()))).encode())
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def data_fingerprint(data: pl.LightningDataModule) -> str:
    """A hash of the samples that are trained on."""
    holders: list[Any] = [getattr(data, "train_dataset", None), data]
    for holder in holders:
        if hasattr(holder, "fingerprint"):
            return str(holder.fingerprint())
    raise ValueError(
        f"Expected `data` to have a `fingerprint()`, by which a store knows its samples again, but "
        f"{type(data).__name__} has none. Add one: a hash of everything that decides its training samples."
    )


def transforms_fingerprint(data: pl.LightningDataModule, view: str) -> str:
    """A hash of what is done to the samples before the teacher sees them."""
    parts: list[Any] = [getattr(data, name, None) for name in ("mean", "std")]
    augment = getattr(data, "augment", None) if view == "augmented" else None
    repeats = getattr(data, "repeats", 1)
    if view == "augmented" and repeats > 1:
        raise ValueError(
            f"Expected `repeats` of the data to be 1 where a teacher is remembered for each epoch's views, but got "
            f"{repeats}: a sample has several views in an epoch then. Ask the teacher each time, or set repeats=1."
        )
    if augment is not None:
        if not hasattr(augment, "fingerprint"):
            raise ValueError(
                f"Expected the augmentation {type(augment).__name__} to have a `fingerprint()`, by which a store knows "
                "its views again, but it has none. Add one, or let the teacher see the images as they are: view='clean'"
            )
        parts.append(augment.fingerprint())
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _bytes(tensor: Tensor) -> Any:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data if flat.numel() else b""
