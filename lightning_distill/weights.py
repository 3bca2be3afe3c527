"""Read weights from a file and put them into a network, or say exactly what does not fit."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

# Where other programs put the weights inside a checkpoint, and what they put before the names.
STATE_KEYS = ("state_dict", "model_state_dict", "model", "student")
PREFIXES = ("student.", "model.", "module.", "_orig_mod.")
SHOWN = 3


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors in a ``.safetensors`` file, or in a ``.pt``/``.pth``/``.ckpt`` one that needs no code to be read.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, or holds no weights.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Expected a checkpoint at {path}, but there is no such file.")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    weights = _find_weights(content)
    if not weights:
        raise ValueError(f"Expected {path} to hold a network's weights by name, but got {_outline(content)}.")
    return weights


def load_weights(model: nn.Module, path: str | Path, role: str = "model") -> None:
    """Put the weights in a file into ``model``; every name and shape has to fit.

    Prefixes such as ``student.``, ``model.`` and ``module.``, as Lightning, DDP and ``torch.compile`` add them, are
    dropped where that makes the names fit.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, or names or shapes do not fit. The model is unchanged then.
    """
    weights = fit_names(read_weights(path), model.state_dict())
    problems = misfits(weights, model.state_dict())
    if problems:
        raise ValueError(
            f"Expected the weights in {path} to fit the {role}, a {type(model).__name__}, but {'; '.join(problems)}. "
            "Choose the architecture that the file was made with, or another file."
        )
    model.load_state_dict(weights)


def save_weights(model: nn.Module, path: str | Path, metadata: Mapping[str, Any] | None = None) -> None:
    """Write a network's weights as safetensors, complete or not at all.

    Args:
        model: The network.
        path: Where to.
        metadata: Plain values to keep in the file's header.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    # Copies: safetensors refuses tensors that share memory, as tied embeddings do.
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, part, metadata={name: json.dumps(value) for name, value in (metadata or {}).items()})
    os.replace(part, path)


def read_metadata(path: str | Path) -> dict[str, Any]:
    """The plain values that :func:`save_weights` kept in the header."""
    with safe_open(path, framework="pt") as file:
        return {name: json.loads(value) for name, value in (file.metadata() or {}).items()}


def fit_names(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``weights`` without the prefix that keeps most names from matching ``wanted``.

    Example:
        >>> list(fit_names({"student.weight": torch.ones(1)}, {"weight": torch.ones(1)}))
        ['weight']
    """
    candidates = [dict(weights)]
    for prefix in PREFIXES:
        # Two rounds at most: "student.module.weight" is what a wrapped student leaves.
        candidates += [_strip(candidate, prefix) for candidate in list(candidates)]
    return max(candidates, key=lambda c: (len(c.keys() & wanted.keys()), -len(c.keys() - wanted.keys())))


def misfits(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """What keeps ``weights`` from fitting ``wanted``, the first few of each kind; empty if they fit.

    Example:
        >>> misfits({"a": torch.ones(2), "b": torch.ones(1)}, {"a": torch.ones(3)})
        ['1 is not needed (b)', '1 has another shape (a: [2] in the file, [3] in the network)']
    """
    shapes = [
        f"{name}: {list(weights[name].shape)} in the file, {list(tensor.shape)} in the network"
        for name, tensor in wanted.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    found = (
        ("missing", [name for name in wanted if name not in weights]),
        ("not needed", [name for name in weights if name not in wanted]),
        ("another shape", shapes),
    )
    return [_count(kind, names) for kind, names in found if names]


def _count(kind: str, names: list[str]) -> str:
    verb = ("has" if len(names) == 1 else "have") if kind == "another shape" else "is" if len(names) == 1 else "are"
    more = ", ..." if len(names) > SHOWN else ""
    return f"{len(names)} {verb} {kind} ({', '.join(names[:SHOWN])}{more})"


def _strip(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries under ``prefix`` without it; others, such as a metric's state in a checkpoint, are dropped."""
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from None


def _read_torch(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError:
        # torch's own message advises to run the file's code.
        raise _unreadable(path, "it is no such file, or holds objects besides tensors and plain values") from None
    except Exception as error:  # whatever the bytes of a file that is something else make the reader do
        raise _unreadable(path, error) from error


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


def _outline(content: Any) -> str:
    if isinstance(content, Mapping):
        return f"a {type(content).__name__} with the keys {', '.join(map(repr, list(content)[:SHOWN]))}"
    return f"a {type(content).__name__}"
