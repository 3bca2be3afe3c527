"""Handlers of the reference values of losses that relate layers to each other."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_distill.losses import FSPLoss, KDSVDLoss
from tests.losses.golden import Arrays, Entry, Handler, collect, read_inputs


def layers(inputs: dict[str, Tensor], role: str) -> list[Tensor]:
    return [inputs[f"{role}{i}"] for i in range(3)]


def fsp(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    inputs = read_inputs(entry, arrays, dtype)
    loss = FSPLoss("torchdistill" if entry["source"].startswith("torchdistill") else "mean")
    return collect(entry, loss(layers(inputs, "student"), layers(inputs, "teacher")), inputs)


def kdsvd(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    inputs = read_inputs(entry, arrays, dtype)
    loss = KDSVDLoss(entry["hyperparameters"]["k"], "rows" if entry["source"].startswith("mdistiller") else "channels")
    return collect(entry, loss(layers(inputs, "student"), layers(inputs, "teacher")), inputs)


HANDLERS: dict[str, Handler] = {"FSP": fsp, "KDSVD": kdsvd}

SINGLE = "published: decomposed in float32 whatever comes in; equal to 1e-5, see test_singular.py"

DEVIATIONS: dict[str, str] = {"kdsvd/mdistiller_pyr_sameW_b1": SINGLE, "kdsvd/mdistiller_pyr_sameW_b3": SINGLE}
