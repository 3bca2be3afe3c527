"""Handlers of the reference values of losses that relate samples to each other."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_distill.losses.similarity import SPLoss
from tests.losses.golden import Arrays, Entry, Handler, collect, read_inputs


def sp(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    inputs = read_inputs(entry, arrays, dtype)
    loss = SPLoss("l1" if entry["source"].startswith("torchdistill") else "paper")
    return collect(entry, loss(inputs["student"], inputs["teacher"]), inputs)


HANDLERS: dict[str, Handler] = {
    "SP": sp,
}

DEVIATIONS: dict[str, str] = {}
