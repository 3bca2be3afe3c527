"""How long one sample takes on the CPU."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lightning_distill.dry_run import fit_to
from lightning_distill.types import call_model


def median_latency_ms(
    models: Mapping[str, nn.Module], example_input: Any, repeats: int = 200, budget_s: float = 2.0
) -> dict[str, float]:
    """Milliseconds per sample on the CPU at batch size 1: the median of many calls.

    The models take turns, so that whatever else the machine does hits all of them alike.

    Args:
        models: By name; on the CPU.
        example_input: A tensor ``[B, ...]`` or a mapping of such tensors; the first sample is used.
        repeats: Calls per model.
        budget_s: Stop early after this many seconds, but not before 10 calls per model.

    Example:
        >>> median_latency_ms({"student": nn.Linear(4, 3)}, torch.zeros(2, 4), repeats=10)["student"] > 0
        True
    """
    samples = {name: fit_to(model, _first_sample(example_input)) for name, model in models.items()}
    times: dict[str, list[float]] = {name: [] for name in models}
    training = {name: model.training for name, model in models.items()}
    start = time.perf_counter()
    with torch.inference_mode():
        for name, model in models.items():
            call_model(model.eval(), samples[name])
        for round_index in range(repeats):
            for name, model in models.items():
                before = time.perf_counter()
                call_model(model, samples[name])
                times[name].append(time.perf_counter() - before)
            if round_index >= 9 and time.perf_counter() - start > budget_s:
                break
    for name, model in models.items():
        model.train(training[name])
    return {name: statistics.median(values) * 1e3 for name, values in times.items()}


def _first_sample(example_input: Any) -> Any:
    if isinstance(example_input, Mapping):
        return {name: _first_sample(value) for name, value in example_input.items()}
    return example_input[:1].cpu() if isinstance(example_input, Tensor) else example_input
