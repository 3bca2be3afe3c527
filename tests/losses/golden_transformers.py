"""Handlers of the reference values of losses for transformers."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_distill.losses import MiniLMLoss, ViTKDLoss
from tests.losses.golden import Arrays, Entry, Handler, collect, load_params, read_inputs, read_params


def minilm(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    inputs = read_inputs(entry, arrays, dtype)
    student, teacher = (tuple(inputs[f"{side}_{part}"] for part in "qkv") for side in "st")
    loss = MiniLMLoss(heads=entry["hyperparameters"]["A_r"], variant="v1")
    return collect(entry, loss(student, teacher, mask=inputs["mask"]), inputs)


def vitkd(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    inputs, params = read_inputs(entry, arrays, dtype), read_params(entry, arrays, dtype)
    parts = {"align2.0": "align_low.0", "align2.1": "align_low.1", "align": "align_high"}
    parts |= {"generation.0": "generate_in", "generation.2": "generate_out"}
    names = {f"{theirs}.{kind}": f"{ours}.{kind}" for theirs, ours in parts.items() for kind in ("weight", "bias")}
    names["mask_token"] = "mask_token"
    loss = ViTKDLoss(inputs["low_s"].shape[-1], inputs["low_t"].shape[-1])
    load_params(loss, params, names)
    student, teacher = ((*inputs[f"low_{s}"].unbind(1), inputs[f"high_{s}"]) for s in "st")
    value = loss(student, teacher, noise=inputs["noise"])
    return collect(entry, value, inputs, {theirs: loss.get_parameter(ours) for theirs, ours in names.items()})


HANDLERS: dict[str, Handler] = {"MiniLM relations": minilm, "ViTKD": vitkd}

DEVIATIONS: dict[str, str] = {}
