"""Handlers of the reference values of losses with a trained regressor."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from lightning_distill.adapters import build_adapter
from lightning_distill.losses import HintLoss, VIDLoss
from tests.losses.golden import Arrays, Entry, Handler, as_tensor, collect, load_params, read_inputs, read_params


def vid(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    inputs, params = read_inputs(entry, arrays, dtype), read_params(entry, arrays, dtype)
    variance = "soft_plus_param" if "soft_plus_param" in params else "log_scale"
    names = {variance: "raw_variance"} | {f"regressor.{i}.weight": f"regressor.{i}.weight" for i in (0, 2, 4)}
    loss = VIDLoss(inputs["student"].shape[1], inputs["teacher"].shape[1])
    load_params(loss, params, names)
    value = loss(inputs["student"], inputs["teacher"])
    return collect(entry, value, inputs, {theirs: loss.get_parameter(ours) for theirs, ours in names.items()})


def fitnet(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    """A hint through the adapter that FitNets use."""
    inputs, params = read_inputs(entry, arrays, dtype), read_params(entry, arrays, dtype)
    adapter = build_adapter("fitnet", inputs["student"].shape, inputs["teacher"].shape)
    kinds = {"conv": "0", "bn": "1"}
    names = {name: name.replace(kind, kinds[kind]) for name in params for kind in kinds if name.startswith(f"{kind}.")}
    load_params(adapter, params, names)
    value = HintLoss()(adapter(inputs["student"]), inputs["teacher"])
    trained = {theirs: dict(adapter.named_parameters()).get(ours) for theirs, ours in names.items()}
    return collect(entry, value, inputs, {name: p for name, p in trained.items() if p is not None})


def timm_feature(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    """A hint through a linear adapter beside the labels' loss."""
    inputs, recorded = read_inputs(entry, arrays, dtype), entry["results"]
    adapter = build_adapter("linear", inputs["student"].shape, inputs["teacher"].shape)
    parts = {"weight": recorded["aux/proj_weight"], "bias": recorded["aux/proj_bias"]}
    load_params(adapter, {name: as_tensor(arrays[key], dtype) for name, key in parts.items()}, {n: n for n in parts})
    hint = HintLoss()(adapter(inputs["student"]), inputs["teacher"])
    labels = cross_entropy(inputs["student_logits"], inputs["target"])
    given = entry["hyperparameters"]
    total = given["task_loss_weight"] * labels + given["distill_loss_weight"] * hint
    aux = {"kd_loss": hint, "task_loss": labels, "proj_weight": adapter.weight, "proj_bias": adapter.bias}
    return collect(entry, total, inputs, aux=aux)


HANDLERS: dict[str, Handler] = {
    "FitNet (ConvReg + MSE)": fitnet,
    "VID": vid,
    "timm feature (Linear + MSE)": timm_feature,
}

DEVIATIONS: dict[str, str] = {}
