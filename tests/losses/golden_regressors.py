"""Handlers of the reference values of losses with a trained regressor."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_distill.losses import VIDLoss
from tests.losses.golden import Arrays, Entry, Handler, collect, load_params, read_inputs, read_params


def vid(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    inputs, params = read_inputs(entry, arrays, dtype), read_params(entry, arrays, dtype)
    variance = "soft_plus_param" if "soft_plus_param" in params else "log_scale"
    names = {variance: "raw_variance"} | {f"regressor.{i}.weight": f"regressor.{i}.weight" for i in (0, 2, 4)}
    loss = VIDLoss(inputs["student"].shape[1], inputs["teacher"].shape[1])
    load_params(loss, params, names)
    value = loss(inputs["student"], inputs["teacher"])
    return collect(entry, value, inputs, {theirs: loss.get_parameter(ours) for theirs, ours in names.items()})


HANDLERS: dict[str, Handler] = {"VID": vid}

DEVIATIONS: dict[str, str] = {}
