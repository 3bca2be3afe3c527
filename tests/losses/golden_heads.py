"""Handlers of the reference values of losses with trained parts, the teacher's head, or connectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lightning_distill.losses.ab import ABLoss
from lightning_distill.losses.factor import FTLoss, FTVariant, Paraphraser, ft_loss
from lightning_distill.losses.mgd import MGDLoss, mgd_loss
from lightning_distill.losses.ofd import OFDLoss, ofd_loss, ofd_margin
from lightning_distill.losses.pad import pad_l2_loss
from lightning_distill.losses.review import AttentionFusion, ReviewKDLoss, hcl_loss
from lightning_distill.losses.simkd import SimKDLoss
from lightning_distill.losses.soft_target import KLDistillationLoss
from lightning_distill.losses.srd import srd_loss
from lightning_distill.losses.srrl import SRRLLoss, srrl_loss
from tests.losses.golden import Arrays, Entry, Handler, collect, load_params, read_inputs, read_params


def layers_of(inputs: dict[str, Tensor], side: str) -> list[Tensor]:
    """The inputs ``side0``, ``side1``, ... in order."""
    return [inputs[name] for name in sorted(inputs) if name.startswith(side) and name[len(side) :].isdigit()]


def hcl(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    inputs = read_inputs(entry, arrays, dtype)
    hyper = entry["hyperparameters"]
    levels = hyper.get("levels", hyper.get("output_sizes"))
    student = layers_of(inputs, "student") or inputs["student"]
    teacher = layers_of(inputs, "teacher") or inputs["teacher"]
    return collect(entry, hcl_loss(student, teacher, levels), inputs)


def review(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    """One fusion of the module, given the deeper layer's result."""
    inputs, params = read_inputs(entry, arrays, dtype), read_params(entry, arrays, dtype)
    module = ReviewKDLoss([6, 6], [10, 10], entry["hyperparameters"]["mid_channel"])
    fusion = module.fusions[0]
    assert isinstance(fusion, AttentionFusion)
    names = {"conv1": "reduce", "conv2": "expand", "att_conv.0": "attend"}
    rename = {p: p.replace(old, new, 1) for p in params for old, new in names.items() if p.startswith(old)}
    load_params(fusion, params, rename)
    fused, handed = fusion(inputs["student"], inputs["residual"], inputs["teacher"].shape[2:])
    ours = dict(fusion.named_parameters())
    parameters = {theirs: ours[name] for theirs, name in rename.items() if name in ours}
    loss = hcl_loss(fused, inputs["teacher"], module.levels)
    return collect(entry, loss, inputs, parameters, aux={"y": fused, "x": handed})


def mgd_criterion(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    inputs = read_inputs(entry, arrays, dtype)
    loss = entry["hyperparameters"]["alpha_mgd"] * mgd_loss(inputs["student"], inputs["teacher"], reduction="sum")
    return collect(entry, loss, inputs)


def mgd(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    """The recorded uniform numbers are the draw; the two publications keep its opposite ends."""
    inputs, params = read_inputs(entry, arrays, dtype), read_params(entry, arrays, dtype)
    hyper = entry["hyperparameters"]
    masked, published_sum = hyper["lambda_mgd"], hyper["reduction"] == "sum/N"
    module = MGDLoss(6, 6, masked, "channel" if published_sum else "spatial", "sum" if published_sum else "mean")
    load_params(module, params, {name: name for name in params})
    uniform = inputs["uniform"]
    keep = uniform >= masked if published_sum else uniform <= 1 - masked
    loss = hyper.get("alpha", hyper.get("alpha_mgd")) * module(inputs["student"], inputs["teacher"], keep=keep)
    return collect(entry, loss, inputs, dict(module.named_parameters()))


def linear(params: dict[str, Tensor], name: str) -> nn.Linear:
    """A linear layer with the recorded parameters."""
    weight, bias = params[f"{name}.weight"], params[f"{name}.bias"]
    layer = nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype)
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer


def load_part(part: nn.Module, params: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Load the recorded parameters that begin with ``prefix``; the module's own, by their recorded names."""
    names = [name for name in params if name.startswith(prefix)]
    load_params(part, {name: params[name] for name in names}, {name: name.removeprefix(prefix) for name in names})
    return {prefix + name: parameter for name, parameter in part.named_parameters()}


def srrl(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    inputs, params = read_inputs(entry, arrays, dtype), read_params(entry, arrays, dtype)
    module = SRRLLoss(16, 24, linear(params, "cls_t")).to(dtype)
    parameters = load_part(module.connector, params, "srrl.transfer.")
    connected = module.connect(inputs["student"])
    aux = {
        "trans_feat": connected,
        "pred": module.teacher_head(connected),
        "teacher_logits": module.teacher_head(inputs["teacher"]),
    }
    return collect(entry, module(inputs["student"], inputs["teacher"]), inputs, parameters, aux)


def srrl_criterion(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    inputs = read_inputs(entry, arrays, dtype)
    hyper = entry["hyperparameters"]
    logits = inputs["logit_st"], inputs["logit_t"]
    loss = hyper["alpha"] * srrl_loss(inputs["student"], inputs["teacher"], *logits, beta=hyper["beta"])
    return collect(entry, loss, inputs)


def simkd(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    inputs, params = read_inputs(entry, arrays, dtype), read_params(entry, arrays, dtype)
    module = SimKDLoss(6, 8, linear(params, "cls_t"), entry["hyperparameters"]["factor"]).to(dtype)
    parameters = load_part(module.projector, params, "simkd.transfer.")
    aux = {"trans": module.project(inputs["student"]), "pred": module.predict(inputs["student"])}
    return collect(entry, module(inputs["student"], inputs["teacher"]), inputs, parameters, aux)


def ofd_criterion(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    """Without a margin, divided by a constant."""
    inputs = read_inputs(entry, arrays, dtype)
    loss = ofd_loss(inputs["student"], inputs["teacher"], reduction="sum")
    return collect(entry, loss / entry["hyperparameters"]["mul_factor"], inputs)


def ofd_partial(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    """The margin computed from the recorded BatchNorm, not the recorded one."""
    inputs = read_inputs(entry, arrays, dtype)
    margin = ofd_margin(inputs["bn_weight"], inputs["bn_bias"])
    return collect(entry, ofd_loss(inputs["student"], inputs["teacher"], margin, "sum"), inputs)


def ofd(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    inputs, params = read_inputs(entry, arrays, dtype), read_params(entry, arrays, dtype)
    module = OFDLoss(6, 6, [inputs["margin"]], "sum").to(dtype)
    parameters = load_part(module.connectors[0], params, "0.")
    return collect(entry, module(inputs["student"], inputs["teacher"]), inputs, parameters)


def ab(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    """One layer published as a sum over the batch too, or a list divided by its size and 1000 / 3."""
    inputs = read_inputs(entry, arrays, dtype)
    module = ABLoss(entry["hyperparameters"]["margin"], "sum")
    if entry["method"] == "AB":
        loss = module(inputs["student"], inputs["teacher"])
        return collect(entry, loss, inputs)
    loss = module(layers_of(inputs, "student"), layers_of(inputs, "teacher"))
    return collect(entry, loss * 3 / 1000, inputs)


def ft_factor(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    inputs = read_inputs(entry, arrays, dtype)
    variant: FTVariant = "euclidean" if entry["hyperparameters"].get("p") == 2 else "paper"
    if entry["method"] == "FT (factor loss)":
        variant = "attention"
    return collect(entry, ft_loss(inputs["student"], inputs["teacher"], variant), inputs)


def ft(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    inputs, params = read_inputs(entry, arrays, dtype), read_params(entry, arrays, dtype)
    paraphraser = Paraphraser(8, entry["hyperparameters"]["k"])
    # The published autoencoder has an empty place for a norm after each convolution.
    load_part(paraphraser, {n.replace(".3.", ".2.").replace(".6.", ".4."): p for n, p in params.items()}, "para.")
    module = FTLoss(6, 8, variant="attention", paraphraser=paraphraser).to(dtype)
    parameters = load_part(module.translator, params, "trans.encoder.")
    loss = module(inputs["student"], inputs["teacher"])
    aux = {"recon_mse": paraphraser.reconstruction_loss(inputs["teacher"])}
    return collect(entry, loss, inputs, parameters, aux)


def pad_l2(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    """The recorded log variance in place of the trained branch."""
    inputs = read_inputs(entry, arrays, dtype)
    eps = entry["hyperparameters"]["eps"]
    return collect(entry, pad_l2_loss(inputs["student"], inputs["teacher"], inputs["log_var"], eps), inputs)


def srd(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    """Published as one sum with soft targets."""
    inputs = read_inputs(entry, arrays, dtype)
    hyper = entry["hyperparameters"]
    soft = KLDistillationLoss(hyper["temperature"])(inputs["ls"], inputs["lt"])
    return collect(entry, 2 * srd_loss(inputs["student"], inputs["teacher"], hyper["exponent"]) + soft, inputs)


def kta(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    """Knowledge translation compares what factor transfer compares."""
    inputs = read_inputs(entry, arrays, dtype)
    return collect(entry, ft_loss(inputs["student"], inputs["teacher"]), inputs)


HANDLERS: dict[str, Handler] = {
    "ReviewKD HCL": hcl,
    "ReviewKD HCL (list)": hcl,
    "ReviewKD ABF + HCL": review,
    "MGD": mgd,
    "MGD (classification)": mgd,
    "MGD criterion only": mgd_criterion,
    "SRRL": srrl,
    "SRRL criterion": srrl_criterion,
    "SimKD": simkd,
    "OFD criterion": ofd_criterion,
    "OFD partial L2": ofd_partial,
    "OFD with connector": ofd,
    "PAD-L2": pad_l2,
    "SRD": srd,
    "AB": ab,
    "AB (list)": ab,
    "FT": ft_factor,
    "FT (factor loss)": ft_factor,
    "KTA": kta,
    "FT (paraphraser+translator)": ft,
}

DEVIATIONS: dict[str, str] = {}

IGNORED_RESULTS: dict[str, dict[str, str]] = {
    "srrl/ctkd_b8_s16_t24": {"param_grad/cls_t.*": "the teacher's classifier is frozen"},
    "ft_full/repdistiller_b2": {"param_grad/para.*": "the paraphraser is frozen in the second stage, as in the paper"},
}
