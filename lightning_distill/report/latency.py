"""How long a batch takes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lightning_distill.dry_run import fit_to, map_tensors
from lightning_distill.types import call_model


class Latency(NamedTuple):
    """Milliseconds per batch: the median of many calls, and the quartiles around it."""

    median_ms: float
    low_ms: float
    high_ms: float


def measure_latency(
    models: Mapping[str, nn.Module],
    example_input: Any,
    batch_size: int = 1,
    repeats: int = 200,
    budget_s: float = 2.0,
    least: int = 10,
) -> dict[str, Latency]:
    """Time per batch on the device where each model is.

    The models take turns, so that whatever else the machine does hits all of them alike.

    Args:
        models: By name.
        example_input: A tensor ``[B, ...]`` or a mapping of such tensors; the batch is copies of its first sample.
        batch_size: Samples per call.
        repeats: Calls per model.
        budget_s: Stop early after this many seconds, but not before ``least`` calls per model.
        least: See ``budget_s``.

    Example:
        >>> measure_latency({"student": nn.Linear(4, 3)}, torch.zeros(2, 4), repeats=10)["student"].median_ms > 0
        True
    """
    batch = map_tensors(example_input, lambda tensor: _copies(tensor, batch_size))
    batches = {name: fit_to(model, batch) for name, model in models.items()}
    times: dict[str, list[float]] = {name: [] for name in models}
    training = {name: model.training for name, model in models.items()}
    start = time.perf_counter()
    with torch.inference_mode():
        for name, model in models.items():
            _timed(model.eval(), batches[name])  # the first call sets things up
        for round_index in range(repeats):
            for name, model in models.items():
                times[name].append(_timed(model, batches[name]))
            if round_index + 1 >= least and time.perf_counter() - start > budget_s:
                break
    for name, model in models.items():
        model.train(training[name])
    return {name: _latency(values) for name, values in times.items()}


def median_latency_ms(models: Mapping[str, nn.Module], example_input: Any, repeats: int = 200) -> dict[str, float]:
    """Milliseconds per sample at batch size 1: the medians of :func:`measure_latency`."""
    found = measure_latency(models, example_input, repeats=repeats)
    return {name: latency.median_ms for name, latency in found.items()}


def _copies(tensor: Tensor, count: int) -> Tensor:
    return tensor[:1].expand(count, *tensor.shape[1:]).contiguous()


def _timed(model: nn.Module, batch: Any) -> float:
    before = time.perf_counter()
    call_model(model, batch)
    if next((p.is_cuda for p in model.parameters()), False):
        torch.cuda.synchronize()
    return time.perf_counter() - before


def _latency(seconds: list[float]) -> Latency:
    low, median, high = (1e3 * float(value) for value in np.percentile(seconds, (25, 50, 75)))
    return Latency(median, low, high)
