"""Read weights from a file and put them into a network, or say exactly what does not fit."""

from __future__ import annotations

import json
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
from lightning_distill.weight_names import SHOWN, fit_names, misfits, other_classes

__all__ = ["fit_names", "load_weights", "misfits", "read_content", "read_metadata", "read_weights", "save_weights"]

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
    if not path.is_file():
        raise FileNotFoundError(f"Expected a checkpoint at {path}, but there is no such file.")
    return _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)


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
        ValueError: If it cannot be read, or names or shapes do not fit. The model is unchanged then.
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
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        # torch's own message advises to run the file's code.
        raise _unreadable(path, _refused(error)) from None
    except Exception as error:  # whatever the bytes of a file that is something else make the reader do
        raise _unreadable(path, error) from error


def _check_size(path: Path) -> None:
    """Raise for a file that would be much larger in memory than on the disk: torch does not compress, a bomb does."""
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise _unreadable(path, error) from None
    if size > path.stat().st_size:
        raise _unreadable(path, f"it is compressed, {size} bytes when unpacked, which torch never writes")


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
    if not isinstance(content, Mapping):
        return {}
    tensors = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}
    if tensors:
        return tensors
    return next((found for key in STATE_KEYS if (found := _find_weights(content.get(key)))), {})


def _flat(content: Any, path: str = "") -> dict[str, Tensor]:
    """Every tensor below ``content`` by its dotted name."""
    if isinstance(content, Tensor):
        return {path: content}
    if not isinstance(content, Mapping):
        return {}
    below = [
        _flat(value, f"{path}.{name}" if path else name) for name, value in content.items() if isinstance(name, str)
    ]
    return {name: tensor for part in below for name, tensor in part.items()}


def _outline(content: Any) -> str:
    if isinstance(content, Mapping):
        return f"a {type(content).__name__} with the keys {', '.join(map(repr, list(content)[:SHOWN]))}"
    return f"a {type(content).__name__}"
