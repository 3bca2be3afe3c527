"""Handlers of the reference values of losses with a memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightning_distill.losses import CRDLoss, queue_loss, token_similarity_loss
from tests.losses.golden import (
    Arrays,
    Entry,
    Handler,
    collect,
    entry_by_id,
    load_params,
    read_inputs,
    read_params,
)


def recorded_crd(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> tuple[CRDLoss, dict[str, str]]:
    """The loss with the recorded projections and memories, and its parameters' recorded names."""
    given = entry["hyperparameters"]
    batch = entry["id"].rpartition("_")[2]
    memories = read_params(entry_by_id(f"crd/repdistiller_{batch}"), arrays, dtype)
    loss = CRDLoss(16, 24, dataset_size=20, dim=8, negatives=given["K"], momentum=given["momentum"])
    load_params(loss, memories, {"contrast.memory_v1": "student_memory", "contrast.memory_v2": "teacher_memory"})
    # The published code keeps the temperature as a float32 number.
    loss.temperature = float(memories["contrast.params"][1])
    prefix = "embed_" if "RepDistiller" in entry["source"] else ""
    names = {
        f"{prefix}{side}.linear.{kind}": f"{role}_embedding.{kind}"
        for side, role in (("s", "student"), ("t", "teacher"))
        for kind in ("weight", "bias")
    }
    load_params(loss, read_params(entry, arrays, dtype), names)
    return loss, names


def crd(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    inputs = read_inputs(entry, arrays, dtype)
    loss, names = recorded_crd(entry, arrays, dtype)
    ids: dict[str, Any] = {"sample_ids": inputs["index"], "negative_ids": inputs["contrast_idx"][:, 1:]}
    value = loss(inputs["student"], inputs["teacher"], **ids)
    parameters = {theirs: loss.get_parameter(ours) for theirs, ours in names.items()}
    results = collect(entry, value, inputs, parameters)
    constants = [float(loss.negatives), loss.temperature, *loss.log_normalizers.exp().tolist(), loss.momentum]
    results["aux/params_after"] = torch.tensor(constants, dtype=dtype)
    results["aux/memory_v1_after"] = loss.student_memory.clone()
    results["aux/memory_v2_after"] = loss.teacher_memory.clone()
    results["aux/loss_step2"] = loss(inputs["student"], inputs["teacher"], **ids).detach()
    results["aux/memory_v1_after2"] = loss.student_memory.clone()
    return results


def queue(entry: Entry, arrays: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    inputs = read_inputs(entry, arrays, dtype)
    total = queue_loss(inputs["student"], inputs["teacher"], inputs["queue"], 0.07)
    aux = {}
    if "student_local" in inputs:
        aux["global"] = total
        aux["local"] = token_similarity_loss(inputs["student_local"], inputs["teacher_local"], 0.07, normalize=False)
        total = total + aux["local"]
    return collect(entry, total, inputs, aux=aux)


HANDLERS: dict[str, Handler] = {
    "CRD": crd,
    "CRD (sampled negatives)": crd,
    "queue-softmax KD": queue,
    "queue-softmax + token-relation KD": queue,
}

DEVIATIONS: dict[str, str] = {
    "crd/torchdistill_noidx_b4": "published: drawing the negatives fails with an error; ours draws them",
}

# A temperature of 0.07 makes the rounding of float32 inputs 14 times larger before it enters an exponential.
FP32_TOLERANCE = {"lightly_v3/b1": 1e-4}
