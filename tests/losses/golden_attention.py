"""Handlers of the reference values of attention transfer."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_distill.losses import AffinityLoss, ATLoss
from tests.losses.golden import Arrays, Entry, Handler, collect, read_inputs


def at(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    inputs = read_inputs(entry, arrays, dtype)
    loss = ATLoss(variant="paper" if entry["hyperparameters"].get("mode") == "paper" else "code")
    return collect(entry, loss(inputs["student"], inputs["teacher"]), inputs)


def at_of_layers(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    inputs = read_inputs(entry, arrays, dtype)
    student, teacher = ([inputs[f"{role}{i}"] for i in range(3)] for role in ("student", "teacher"))
    return collect(entry, ATLoss()(student, teacher), inputs)


def affinity(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    inputs = read_inputs(entry, arrays, dtype)
    return collect(entry, AffinityLoss()(inputs["student"], inputs["teacher"]), inputs)


HANDLERS: dict[str, Handler] = {
    "Affinity (KTAAD)": affinity,
    "AT": at,
    "AT (code)": at,
    "AT (paper)": at,
    "AT (list)": at_of_layers,
    "tiny-transformers inter (attention)": at,
}

DEVIATIONS: dict[str, str] = {}

IGNORED_RESULTS = {
    "affinity/torchdistill_b1c6_8": {"loss": "summed in float32 there: equal to 2e-8, its gradient to 1e-8"},
}
