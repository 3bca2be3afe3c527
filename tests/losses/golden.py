"""Access to the reference values of published implementations in ``tests/golden/losses.json`` and ``losses.npz``.

A handler ``(entry, arrays, dtype) -> {result name: tensor}`` runs one entry through the public module. Most are::

    def fitnet(entry, arrays, dtype):
        inputs = read_inputs(entry, arrays, dtype)
        loss = HintLoss()(inputs["student"], inputs["teacher"])
        return collect(entry, loss, inputs)

With recorded parameters: ``load_params(module, read_params(entry, arrays, dtype), rename)`` and
``collect(entry, loss, inputs, parameters={"recorded name": module.parameter})``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

FOLDER = Path(__file__).parents[1] / "golden"

Entry = dict[str, Any]
Arrays = Mapping[str, np.ndarray]
Handler = Callable[[Entry, Arrays, torch.dtype], dict[str, Tensor]]


@cache
def load_entries() -> tuple[Entry, ...]:
    """Every entry: id, method, source, hyperparameters, inputs, params, results, undefined, notes."""
    return tuple(json.loads((FOLDER / "losses.json").read_text())["entries"])


@cache
def load_arrays() -> dict[str, np.ndarray]:
    """Every array of the set, by key."""
    with np.load(FOLDER / "losses.npz", allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def entry_by_id(entry_id: str) -> Entry:
    """The entry of that id."""
    return next(entry for entry in load_entries() if entry["id"] == entry_id)


def as_tensor(array: np.ndarray, dtype: torch.dtype) -> Tensor:
    """A tensor; floating values in ``dtype``, integers as they are."""
    tensor = torch.from_numpy(np.array(array))
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def read_inputs(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    """The entry's inputs by name; those with a recorded gradient are leaves that require one."""
    inputs = {name: as_tensor(arrays[key], dtype) for name, key in entry["inputs"].items()}
    for name, tensor in inputs.items():
        tensor.requires_grad_(f"grad/{name}" in entry["results"])
    return inputs


def read_params(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    """The entry's recorded parameters and buffers by the name they have in the published code."""
    return {name: as_tensor(arrays[key], dtype) for name, key in entry["params"].items()}


def expected_results(entry: Entry, arrays: Arrays) -> dict[str, Tensor]:
    """The recorded results: ``loss``, ``grad/<input>``, ``param_grad/<parameter>``, ``aux/<name>``, in float64."""
    return {name: as_tensor(arrays[key], torch.float64) for name, key in entry["results"].items()}


def load_params(module: nn.Module, params: Mapping[str, Tensor], rename: Mapping[str, str]) -> nn.Module:
    """Load the recorded ``params`` into ``module``; ``rename`` maps each recorded name to a state-dict key of it.

    The module is moved to the parameters' dtype. A recorded name that ``rename`` lacks is left out.
    """
    dtype = next(value.dtype for value in params.values() if value.is_floating_point())
    module.to(dtype)
    state = module.state_dict()
    with torch.no_grad():
        for theirs, ours in rename.items():
            if state[ours].numel() != params[theirs].numel():
                shapes = f"{list(params[theirs].shape)} and {list(state[ours].shape)}"
                raise ValueError(f"Expected `{theirs}` and `{ours}` to have the same size, but got {shapes}.")
            state[ours].copy_(params[theirs].reshape(state[ours].shape))
    return module


def collect(
    entry: Entry,
    loss: Tensor,
    inputs: Mapping[str, Tensor],
    parameters: Mapping[str, Tensor] | None = None,
    aux: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Run backward and gather the loss, the inputs' gradients, the parameters' gradients and ``aux`` by result name."""
    loss.backward()
    results = {"loss": loss.detach()}
    for name, tensor in inputs.items():
        if f"grad/{name}" in entry["results"]:
            results[f"grad/{name}"] = _gradient(tensor)
    for name, tensor in (parameters or {}).items():
        results[f"param_grad/{name}"] = _gradient(tensor)
    results.update({f"aux/{name}": tensor.detach() for name, tensor in (aux or {}).items()})
    return results


def _gradient(tensor: Tensor) -> Tensor:
    return torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
