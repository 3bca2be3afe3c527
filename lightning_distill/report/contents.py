"""Everything that a page shows, gathered before anything is drawn."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lightning_distill.callbacks.epoch_csv import read_rows
from lightning_distill.engine import pl
from lightning_distill.report.flops import count_flops
from lightning_distill.report.folder import ROLES, RunFolder, Scalar
from lightning_distill.report.latency import Latency, measure_latency
from lightning_distill.report.predictions import Predictions, read_predictions
from lightning_distill.report.quality import Quality, measure_quality
from lightning_distill.report.samples import disagreements, find_inputs, spread_by_certainty

BATCH_SIZES = (1, 64)
REPEATS = 100


@dataclass(frozen=True)
class Contents:
    """What a page shows.

    Attributes:
        folder: Of the run.
        metrics: What ``metrics.json`` holds.
        rows: Rows per epoch by role.
        predictions: Answers by role, about the same samples; empty if the task is no single-label classification.
        quality: Numbers from these answers, by role.
        latencies: By device and batch size, then by role.
        flops: Operations for one sample by role; without those that cannot be counted.
        class_names: One per class.
        disagreeing: Rows of samples about which the networks disagree.
        softened: Rows of samples whose teacher's probabilities are shown.
        inputs: Inputs of these rows.
        data: The data module.
    """

    folder: RunFolder
    metrics: Mapping[str, Mapping[str, Scalar]]
    rows: Mapping[str, Sequence[Mapping[str, str]]]
    predictions: Mapping[str, Predictions]
    quality: Mapping[str, Quality]
    latencies: Mapping[tuple[str, int], Mapping[str, Latency]]
    flops: Mapping[str, int]
    class_names: Sequence[str]
    disagreeing: Sequence[int]
    softened: Sequence[int]
    inputs: Mapping[int, Any]
    data: pl.LightningDataModule

    @property
    def roles(self) -> list[str]:
        """The roles of this run, in order."""
        return [role for role in ROLES if role in self.metrics]

    def number(self, role: str, name: str) -> float | None:
        """A number of ``metrics.json``, if it is there and is one."""
        value = self.metrics.get(role, {}).get(name)
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def read_contents(
    folder: RunFolder, networks: Mapping[str, nn.Module], example_input: Any, data: pl.LightningDataModule
) -> Contents:
    """Read the folder and measure what it does not hold; see :func:`~lightning_distill.report.write.write_report`."""
    predictions = read_predictions(folder)
    teacher = predictions.get("teacher")
    quality = {r: measure_quality(p, None if r == "teacher" else teacher) for r, p in predictions.items()}
    student = predictions.get("student")
    disagreeing = disagreements(predictions) if student is not None and len(predictions) > 1 else []
    softened = spread_by_certainty(teacher) if teacher is not None and student is not None else []
    return Contents(
        folder=folder,
        metrics=folder.read(),
        rows={role: rows for role in ROLES if (rows := read_rows(folder.csv(role)))},
        predictions=predictions,
        quality=quality,
        latencies=_latencies(networks, example_input),
        flops=_flops(networks, example_input),
        class_names=_class_names(data, student),
        disagreeing=disagreeing,
        softened=softened,
        inputs={} if student is None else find_inputs(data, [*disagreeing, *softened], student),
        data=data,
    )


def _latencies(networks: Mapping[str, nn.Module], example_input: Any) -> dict[tuple[str, int], dict[str, Latency]]:
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    found = {}
    for device in devices:
        placed = {role: copy.deepcopy(network).to(device) for role, network in networks.items()}
        for size in BATCH_SIZES:
            found[(device, size)] = measure_latency(placed, example_input, size, repeats=REPEATS, budget_s=1.0, least=5)
    return found


def _flops(networks: Mapping[str, nn.Module], example_input: Any) -> dict[str, int]:
    counted = {}
    for role, network in networks.items():
        try:
            counted[role] = count_flops(network, example_input)
        except Exception:  # operations that PyTorch's counter cannot follow: a dash in the table
            continue
    return counted


def _class_names(data: pl.LightningDataModule, own: Predictions | None) -> list[str]:
    classes = 0 if own is None else own.logits.shape[1]
    names = getattr(data, "class_names", None)
    return (
        [str(name) for name in names] if names and len(names) == classes else [str(index) for index in range(classes)]
    )
