"""Handlers of the logit losses' reference values."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_distill.losses.bce import SoftTargetBCELoss
from lightning_distill.losses.corrected import MFTLoss
from lightning_distill.losses.curriculum import CTKDLoss
from lightning_distill.losses.decoupled import DKDLoss
from lightning_distill.losses.hard_target import HardDistillationLoss
from lightning_distill.losses.multi_level import MLKDLoss, batch_relation_loss, class_relation_loss
from lightning_distill.losses.normalized import NKDLoss
from lightning_distill.losses.pearson import DISTLoss
from lightning_distill.losses.pearson_plus import DISTPlusLoss
from lightning_distill.losses.regression import MSELogitsLoss
from lightning_distill.losses.similarity_direction import SKDLoss
from lightning_distill.losses.soft_target import KLDistillationLoss
from lightning_distill.losses.weighted import WSLDLoss
from tests.losses.golden import Arrays, Entry, Handler, collect, load_params, read_inputs, read_params


def temperature_of(entry: Entry) -> float:
    """Publications call it T, tau, temp or temperature."""
    hyper = entry["hyperparameters"]
    return next(float(hyper[name]) for name in ("temperature", "T", "tau", "temp") if name in hyper)


def kd(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    """The bare term, or the weighted sum with cross-entropy that timm and torchdistill return."""
    standardize = entry["method"].startswith("LSKD")
    inputs = read_inputs(entry, arrays, dtype)
    hyper = entry["hyperparameters"]
    term = KLDistillationLoss(temperature_of(entry), standardize=standardize)(inputs["student"], inputs["teacher"])
    if "target" not in inputs:
        return collect(entry, hyper.get("extra_weight", 1.0) * term, inputs)
    alpha = hyper.get("alpha", hyper.get("task_loss_weight"))
    beta = hyper.get("beta", hyper.get("distill_loss_weight"))
    task = F.cross_entropy(inputs["student"], inputs["target"])
    return collect(entry, alpha * task + beta * term, inputs, aux={"task_loss": task, "kd_loss": term})


def two_heads(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    """DeiT: cross-entropy of the class head, the distillation loss of the other one."""
    inputs = read_inputs(entry, arrays, dtype)
    hyper = entry["hyperparameters"]
    class_logits = inputs["student"]
    distillation_logits = 0.5 * class_logits.flip(1)
    if entry["method"].endswith("hard"):
        term = HardDistillationLoss(label_smoothing=0.0)(distillation_logits, inputs["teacher"])
    else:
        term = KLDistillationLoss(temperature_of(entry))(distillation_logits, inputs["teacher"])
        # DeiT's own code divides by B * C and not by B: its weight is the number of classes smaller.
        term = term / class_logits.shape[1] if entry["method"] == "DeiT soft" else term
    task = F.cross_entropy(class_logits, inputs["target"])
    weights = (1 - hyper["alpha"], hyper["alpha"]) if "alpha" in hyper else (0.5, 0.5)
    loss = weights[0] * task + weights[1] * term
    return collect(entry, loss, inputs, aux={"task_loss": task, "distill_loss": term})


def kd_without_t2(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    """Published without the square of the temperature: the same loss with the weight 1 / T**2."""
    inputs = read_inputs(entry, arrays, dtype)
    temperature = temperature_of(entry)
    loss = KLDistillationLoss(temperature)(inputs["student"], inputs["teacher"]) / temperature**2
    return collect(entry, loss, inputs)


def dkd(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    inputs = read_inputs(entry, arrays, dtype)
    hyper = entry["hyperparameters"]
    standardize = entry["method"].startswith("LSKD")
    loss = DKDLoss(hyper["alpha"], hyper["beta"], temperature_of(entry), standardize)
    return collect(entry, loss(inputs["student"], inputs["teacher"], target=inputs["target"]), inputs)


def nkd(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    inputs = read_inputs(entry, arrays, dtype)
    loss = NKDLoss(entry["hyperparameters"]["gamma"], temperature_of(entry))
    return collect(entry, loss(inputs["student"], inputs["teacher"], target=inputs["target"]), inputs)


def wsld(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    inputs = read_inputs(entry, arrays, dtype)
    loss = WSLDLoss(temperature_of(entry))
    return collect(entry, loss(inputs["student"], inputs["teacher"], target=inputs["target"]), inputs)


def dist(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    inputs = read_inputs(entry, arrays, dtype)
    hyper = entry["hyperparameters"]
    beta, gamma = hyper.get("beta", hyper.get("inter")), hyper.get("gamma", hyper.get("intra"))
    variant = "clamped" if entry["source"].startswith("torchdistill") else "paper"
    loss = DISTLoss(beta, gamma, temperature_of(entry), variant)
    return collect(entry, loss(inputs["student"], inputs["teacher"]), inputs)


def bce(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    inputs = read_inputs(entry, arrays, dtype)
    return collect(entry, SoftTargetBCELoss(reduction="mean")(inputs["student"], inputs["teacher"]), inputs)


def mlkd_part(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    inputs = read_inputs(entry, arrays, dtype)
    function = {"MLKD cc_loss": class_relation_loss, "MLKD bc_loss": batch_relation_loss}[entry["method"]]
    return collect(entry, function(inputs["student"], inputs["teacher"], temperature_of(entry)), inputs)


def mlkd(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    """Cross-entropy on both views times 0.1 plus the loss times 0.9; the parts are one sum here."""
    inputs = read_inputs(entry, arrays, dtype)
    hyper = entry["hyperparameters"]
    weak, strong, target = inputs["student_weak"], inputs["student_strong"], inputs["target"]
    loss = MLKDLoss(hyper["temps"], views=2, standardize=hyper["logit_stand"], variant="code")
    student = torch.cat([weak, strong])
    teacher = torch.cat([inputs["teacher_weak"], inputs["teacher_strong"]])
    task = hyper["CE"] * (F.cross_entropy(weak, target) + F.cross_entropy(strong, target))
    return collect(entry, task + hyper["KD"] * loss(student, teacher), inputs, aux={"loss_ce": task})


def ctkd(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    inputs, params = read_inputs(entry, arrays, dtype), read_params(entry, arrays, dtype)
    hyper = entry["hyperparameters"]
    loss = CTKDLoss(hyper["t_start"], hyper["t_end"], standardize="LSKD" in entry["method"])
    load_params(loss, params, {"global_T": "raw_temperature"})
    # The published factor is half a cosine of the epoch; it is -0.5 half way through its warm-up.
    progress = {-1.0: 1.0, -0.5: loss.warmup / 2}[hyper["lambda_"]]
    value = loss(inputs["student"], inputs["teacher"], progress=progress)
    return collect(
        entry, value, inputs, parameters={"global_T": loss.raw_temperature}, aux={"temperature": loss.temperature}
    )


def mft(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    inputs = read_inputs(entry, arrays, dtype)
    loss = MFTLoss(temperature_of(entry), entry["hyperparameters"]["threshold"])
    return collect(entry, loss(inputs["student"], inputs["teacher"], target=inputs["target"]), inputs)


def skd(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    inputs = read_inputs(entry, arrays, dtype)
    if entry["method"] == "SKD instance":
        loss = SKDLoss(temperature_of(entry), direction=0.0)
    else:
        loss = SKDLoss(tikhonov=entry["hyperparameters"]["tikhonov"], instance=0.0)
    return collect(entry, loss(inputs["student"], inputs["teacher"]), inputs)


def dist_plus(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    inputs = read_inputs(entry, arrays, dtype)
    hyper = entry["hyperparameters"]
    loss = DISTPlusLoss(iota=hyper["iota"], kappa=hyper["kappa"], variant="clamped")
    value = loss(inputs["student"], inputs["teacher"], student_logits=inputs["ls"], teacher_logits=inputs["lt"])
    return collect(entry, value, inputs)


def mse(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    inputs = read_inputs(entry, arrays, dtype)
    return collect(entry, MSELogitsLoss(reduction="mean")(inputs["student"], inputs["teacher"]), inputs)


HANDLERS: dict[str, Handler] = {
    "KD": kd,
    "KD (no T^2 path)": kd_without_t2,
    "LSKD": kd,
    "LSKD (logit standardisation)": kd,
    "LSKD (ViT recipe)": kd,
    "DKD": dkd,
    "DKD (TCKD only)": dkd,
    "DKD (NCKD only)": dkd,
    "LSKD+DKD": dkd,
    "NKD": nkd,
    "WSLD": wsld,
    "DIST": dist,
    "DIST+": dist_plus,
    "DeiT soft": two_heads,
    "DeiT hard": two_heads,
    "timm token soft": two_heads,
    "timm token hard": two_heads,
    "MLKD cc_loss": mlkd_part,
    "MLKD bc_loss": mlkd_part,
    "MLKD (full)": mlkd,
    "CTKD": ctkd,
    "CTKD+LSKD": ctkd,
    "MFT (corrected teacher KD)": mft,
    "SKD instance": skd,
    "SKD direction": skd,
    "MSE": mse,
    "soft-target BCE (deit cosub term)": bce,
}

WRONG_SIGN = (
    "torchdistill adds the channel correlation instead of subtracting it, so minimising it drives the channels apart; "
    "the loss here is the paper's 1 - correlation (test_pearson_plus.py checks that only this sign differs)"
)

DEVIATIONS: dict[str, str] = {
    "distplus/torchdistill_channel_only": WRONG_SIGN,
    "distplus/torchdistill_all": WRONG_SIGN,
    "skd_dir/torchdistill_b1c10": (
        "the published code stops with a linear-algebra error at a batch of one (a covariance of one row); "
        "the loss here is 0, as there is no similarity between samples to compare"
    ),
}

IGNORED_RESULTS: dict[str, dict[str, str]] = {
    entry_id: {
        f"aux/{part}": "a part of the sum, which the public loss returns as one number"
        for part in ("loss_kd", "loss_cc", "loss_bc")
    }
    for entry_id in ("mlkd_full/plain_b6c10", "mlkd_full/stand_b6c10")
}
