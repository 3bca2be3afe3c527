"""Handlers of the reference values of losses that relate samples to each other."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_distill.losses import CCLoss, PKTLoss, RKDLoss, SPLoss
from tests.losses.golden import Arrays, Entry, Handler, collect, read_inputs


def sp(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    inputs = read_inputs(entry, arrays, dtype)
    loss = SPLoss("l1" if entry["source"].startswith("torchdistill") else "paper")
    return collect(entry, loss(inputs["student"], inputs["teacher"]), inputs)


def rkd(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    inputs, given = read_inputs(entry, arrays, dtype), entry["hyperparameters"]
    names = {"distance": ("w_d", "distance_weight", "dist_factor", "loss_weight"), "angle": ("w_a", "angle_weight")}
    factors = {ours: next((given[name] for name in theirs if name in given), 0.0) for ours, theirs in names.items()}
    factors["angle"] = given.get("angle_factor", factors["angle"])
    loss = RKDLoss(**factors, normalize=given.get("with_l2_norm", False))
    return collect(entry, loss(inputs["student"], inputs["teacher"]), inputs)


def pkt(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    inputs = read_inputs(entry, arrays, dtype)
    return collect(entry, PKTLoss()(inputs["student"], inputs["teacher"]), inputs)


def cc(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    """torchdistill takes the norm instead of its square, the authors' code neighbours in the batch."""
    inputs, kernel = read_inputs(entry, arrays, dtype), entry["hyperparameters"].get("type", "bilinear")
    variant = "norm" if entry["source"].startswith("torchdistill") else "adjacent"
    loss = CCLoss(kernel=kernel, normalize=False, variant=variant)
    return collect(entry, loss(inputs["student"], inputs["teacher"]), inputs)


HANDLERS: dict[str, Handler] = {
    "CC": cc,
    "CC (bilinear)": cc,
    "CC (gaussian)": cc,
    "PKT": pkt,
    "RKD": rkd,
    "RKD angle only": rkd,
    "RKD distance": rkd,
    "RKD distance only": rkd,
    "SP": sp,
}

ONE = "published: not a number for a batch of one, in which no two samples relate; ours is 0 there"

DEVIATIONS: dict[str, str] = {
    "cc/repdistiller_b1d8": "published: not a number for a batch of one, which has no neighbours; ours is 0 there",
    "rkd/repdistiller_b1d8": ONE,
    "rkd/mdistiller_b1d8": ONE,
    "rkd/torchdistill_b1d8": ONE,
    "rkd_d/repdistiller_b1d8": ONE,
    "rkd_a/repdistiller_b1d8": ONE,
    "rkd_d/mmrazor_l2norm_b1d8": ONE,
}
