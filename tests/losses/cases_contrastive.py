"""The losses with a memory."""

from __future__ import annotations

from functools import partial

import torch

from lightning_distill.losses import CRDLoss, QueueLoss
from tests.losses.cases import Case, Inputs, randn
from tests.losses.cases_regressors import embeddings, maps


def with_ids(generator: torch.Generator, batch: int) -> Inputs:
    pair = embeddings(generator, batch)
    return Inputs(pair.student, pair.teacher, {"sample_ids": torch.arange(batch) * 2})


def maps_with_ids(generator: torch.Generator, batch: int) -> Inputs:
    pair = maps(generator, batch)
    return Inputs(pair.student, pair.teacher, {"sample_ids": torch.arange(batch)})


def same_width(generator: torch.Generator, batch: int) -> Inputs:
    return Inputs(randn(generator, batch, 3), randn(generator, batch, 3))


RANDOM = "the first batch's normaliser is a constant of the loss, though it is computed from that batch"

CASES = [
    Case(
        "crd",
        partial(CRDLoss, 3, 4, dataset_size=9, dim=5, negatives=6),
        with_ids,
        wrong_name="student",
        gradcheck=False,
        reason=RANDOM,
    ),
    Case(
        "crd_large",
        partial(CRDLoss, 3, 4, dataset_size=40, dim=2, negatives=6),
        maps_with_ids,
        wrong_name="student",
        gradcheck=False,
        reason=RANDOM,
    ),
    Case("queue", partial(QueueLoss, 3, size=6), same_width, zero_at_agreement=True, wrong_name="student_features"),
    Case("queue_projected", partial(QueueLoss, 4, 3, size=6), embeddings, wrong_name="student"),
]
