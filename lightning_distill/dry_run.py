"""Run a network once to learn shapes, and leave no trace."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lightning_distill.types import call_model


@contextmanager
def no_trace(*modules: nn.Module) -> Iterator[None]:
    """Eval mode for ``modules``, with train flags and random state put back afterwards.

    BatchNorm statistics do not move in eval mode. Gradients stay on: wrap in ``torch.no_grad()`` where none are needed.
    """
    flags = [(module, module.training) for root in modules for module in root.modules()]
    devices = {p.device.index for root in modules for p in root.parameters() if p.device.type == "cuda"}
    with torch.random.fork_rng(devices=sorted(d for d in devices if d is not None)):
        for root in modules:
            root.eval()
        try:
            yield
        finally:
            for module, training in flags:
                module.training = training


def dry_run(model: nn.Module, example_input: Any, call: Callable[[nn.Module, Any], Any] = call_model) -> Any:
    """The output of ``model`` for one example, in eval mode, without gradients and without any lasting effect.

    Args:
        model: Any network, on any device and in any precision.
        example_input: A tensor ``[B, ...]`` or a mapping of keyword arguments. It is brought to the network's device
            and precision.
        call: How the network is called.

    Example:
        >>> dry_run(nn.Linear(4, 3), torch.zeros(2, 4)).shape
        torch.Size([2, 3])
    """
    with no_trace(model), torch.no_grad():
        return call(model, fit_to(model, example_input))


def fit_to(model: nn.Module, inputs: Any) -> Any:
    """``inputs`` on the device of ``model``; floating-point ones in the precision of its parameters."""
    parameter = next((p for p in model.parameters() if p.is_floating_point()), None)
    if parameter is None:
        return inputs
    return map_tensors(
        inputs, lambda t: t.to(parameter.device, parameter.dtype) if t.is_floating_point() else t.to(parameter.device)
    )


def map_tensors(inputs: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Apply ``function`` to every tensor in a tensor, a mapping or a sequence."""
    if isinstance(inputs, Tensor):
        return function(inputs)
    if isinstance(inputs, dict) or hasattr(inputs, "items"):
        return {key: map_tensors(value, function) for key, value in inputs.items()}
    if isinstance(inputs, (tuple, list)):
        return [map_tensors(value, function) for value in inputs]
    return inputs
