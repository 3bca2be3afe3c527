"""Handlers of the reference values of losses that compare feature maps."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_distill.losses.hint import HintLoss
from tests.losses.golden import Arrays, Entry, Handler, collect, read_inputs


def hint(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    inputs = read_inputs(entry, arrays, dtype)
    return collect(entry, HintLoss()(inputs["student"], inputs["teacher"]), inputs)


HANDLERS: dict[str, Handler] = {"FitNet hint (MSE)": hint, "feature MSE": hint}

DEVIATIONS: dict[str, str] = {}
