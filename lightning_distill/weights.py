"""Read weights from a file and put them into a network, or say exactly what does not fit."""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lightning_distill.files import follow_umask, replacing
from lightning_distill.weight_names import SHOWN, fit_names, misfits, not_finite, other_classes

__all__ = [
    "check_is_file",
    "fit_names",
    "load_weights",
    "misfits",
    "not_finite",
    "read_content",
    "read_metadata",
    "read_weights",
    "save_weights",
]

# Where other programs put the weights inside a checkpoint.
STATE_KEYS = ("state_dict", "model_state_dict", "model", "student", "teacher", "net", "network", "module", "weights")


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors in a ``.safetensors`` file, or in a ``.pt``, ``.pth``, ``.bin`` or ``.ckpt`` one that needs no code.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, or holds no weights.
    """
    content = read_content(path)
    weights = _find_weights(content)
    if not weights:
        raise ValueError(f"Expected {path} to hold a network's weights by name, but got {_outline(content)}.")
    return weights


def read_content(path: str | Path) -> Any:
    """Everything in such a file: tensors, and the plain values around them.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read.
    """
    path = Path(path)
    check_is_file(path, "a checkpoint")
    return _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)


def check_is_file(path: Path, what: str) -> None:
    """Raise unless ``path`` is an ordinary file: a pipe or a device could be read for ever.

    Raises:
        FileNotFoundError: Says what is there instead.
    """
    if path.is_dir():
        raise FileNotFoundError(
            f"Expected {what} at {path}, but it is a folder. Name a file in it. Shards become a file by "
            "lightning_distill.sharded.consolidate(folder, file)."
        )
    if not path.is_file():
        there = "what is there is no ordinary file" if path.exists() else "there is no such file"
        raise FileNotFoundError(f"Expected {what} at {path}, but {there}.")


def load_weights(
    model: nn.Module,
    path: str | Path,
    role: str = "model",
    *,
    submodule: str | None = None,
    drop_head: bool = False,
) -> None:
    """Put the weights in a file into ``model``; every name and shape has to fit.

    Names as Lightning, DDP and ``torch.compile`` write them, with ``student.``, ``model.`` or any other path in front,
    fit where what follows does.

    Args:
        model: The network.
        path: See :func:`read_weights`.
        role: What a message calls the network.
        submodule: Which network of a file that holds several: its path there, such as ``"net"`` or
            ``"state_dict_ema"``.
        drop_head: Leave the classifier as it is where the file's tells other classes apart.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, names, shapes or types do not fit, or a weight is NaN or infinite. The model
            is unchanged then.
    """
    wanted = model.state_dict()
    found = read_weights(path) if submodule is None else _flat(read_content(path))
    try:
        weights = fit_names(found, wanted, submodule)
    except ValueError as error:
        raise ValueError(f"Could not load the weights in {path} into the {role}. {error}") from error
    heads = other_classes(weights, wanted)
    if drop_head:
        weights |= {name: wanted[name] for name in heads}
    problems = misfits(weights, wanted)
    if problems:
        raise ValueError(
            f"Expected the weights in {path} to fit the {role}, a {type(model).__name__}, but {'; '.join(problems)}. "
            + _way_out(heads, Path(path))
        )
    spoilt = not_finite(weights, [name for name, _ in model.named_parameters()])
    if spoilt:
        raise ValueError(
            f"Expected the weights in {path} to be finite, but {', '.join(spoilt[:SHOWN])} "
            f"{'holds' if len(spoilt) == 1 else 'hold'} NaN or infinity. Choose a file from before the training went "
            "wrong."
        )
    model.load_state_dict(weights)


def _way_out(heads: Mapping[str, tuple[int, int]], path: Path) -> str:
    config = path.with_name("config.yaml")
    if not heads and config.is_file():
        return f"{config} says what it was made with; teacher.run={path.parent} trust_config=true builds that network."
    if not heads:
        return "Choose the architecture that the file was made with, or another file."
    theirs, ours = next(iter(heads.values()))
    return (
        f"Only the classifier differs: the file's tells {theirs} classes apart, the network's {ours}. Build the "
        f"network for {theirs} classes (of a teacher, teacher.class_map maps them to the data's), or start from a new "
        "classifier: drop_head=True, in a config teacher.drop_head=true or student_drop_head=true."
    )


def save_weights(model: nn.Module, path: str | Path, metadata: Mapping[str, Any] | None = None) -> None:
    """Write a network's weights as safetensors, complete or not at all.

    Args:
        model: The network.
        path: Where to.
        metadata: Plain values to keep in the file's header.
    """
    # Copies: safetensors refuses tensors that share memory, as tied embeddings do.
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in model.state_dict().items()}
    with replacing(path) as part:
        save_file(tensors, part, metadata={name: json.dumps(value) for name, value in (metadata or {}).items()})
        follow_umask(part)


def read_metadata(path: str | Path) -> dict[str, Any]:
    """The plain values that :func:`save_weights` kept in the header."""
    with safe_open(path, framework="pt") as file:
        return {name: json.loads(value) for name, value in (file.metadata() or {}).items()}


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from None


def _read_torch(path: Path) -> Any:
    _check_size(path)
    # Mapped, tensors cannot reach beyond the file, whatever sizes it claims; nor is what nobody asks for read. torch
    # maps no file whose name is no text.
    mapped = zipfile.is_zipfile(path) and os.fsencode(path).decode(errors="replace") == str(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except UnpicklingError as error:
        # torch's own message advises to run the file's code.
        raise _unreadable(path, _refused(error)) from None
    except (LookupError, EOFError) as error:  # whose text is a byte of the file, or nothing
        raise _unreadable(path, "it is no such file, or cut off") from error
    except Exception as error:  # whatever the bytes of a file that is something else make the reader do
        raise _unreadable(path, error) from error


def _check_size(path: Path) -> None:
    try:
        with path.open("rb") as file:
            check_unpacked(file, path.stat().st_size)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise _unreadable(path, error) from None


def check_unpacked(file: Any, size: int) -> None:
    """Raise for a file that would be much larger in memory than on the disk: torch does not compress, a bomb does.

    Raises:
        ValueError: If it is compressed.
    """
    if not zipfile.is_zipfile(file):
        return
    with zipfile.ZipFile(file) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > size:
        raise ValueError(f"it is compressed, {unpacked} bytes when unpacked, which torch never writes")


def _refused(error: UnpicklingError) -> str:
    named = re.search(r"(?:GLOBAL|class) ([\w.]+)", str(error))
    what = f", {named.group(1)} among them" if named else ""
    return f"it is no such file, or holds objects besides tensors and plain values{what}"


def _unreadable(path: Path, error: Exception | str) -> ValueError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
    return ValueError(
        f"Expected {path} to be a file of weights (safetensors, or a state dict saved by torch), but it cannot be "
        f"read: {reason}. Save `model.state_dict()`; files with pickled objects are not read."
    )


def _find_weights(content: Any) -> dict[str, Tensor]:
    """The tensors at the top, or below the first key of :data:`STATE_KEYS` that leads to some."""
    waiting, seen = [content], set[int]()
    while waiting:
        found = waiting.pop()
        if not isinstance(found, Mapping) or id(found) in seen:  # a file may hold a mapping within itself
            continue
        seen.add(id(found))
        tensors = {name: value for name, value in found.items() if isinstance(name, str) and isinstance(value, Tensor)}
        if tensors:
            return tensors
        waiting += [found[key] for key in reversed(STATE_KEYS) if key in found]
    return {}


def _flat(content: Any) -> dict[str, Tensor]:
    """Every tensor below ``content`` by its dotted name; of a mapping that is there twice, once."""
    tensors: dict[str, Tensor] = {}
    waiting, seen = [("", content)], set[int]()
    while waiting:
        path, found = waiting.pop()
        if isinstance(found, Tensor):
            tensors[path] = found
        elif isinstance(found, Mapping) and id(found) not in seen:
            seen.add(id(found))
            below = [
                (f"{path}.{name}" if path else name, item) for name, item in found.items() if isinstance(name, str)
            ]
            waiting += reversed(below)
    return tensors


def _outline(content: Any) -> str:
    if isinstance(content, Mapping):
        return (
            f"a {type(content).__name__} with the keys {', '.join(f'{name!r:.60}' for name in list(content)[:SHOWN])}"
        )
    return f"a {type(content).__name__}"
