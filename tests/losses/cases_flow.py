"""The losses that relate layers to each other."""

from __future__ import annotations

from functools import partial

import torch

from lightning_distill.losses import FSPLoss, KDSVDLoss, fsp_loss, kdsvd_loss
from tests.losses.cases import Case, Inputs, randn


def layers(generator: torch.Generator, batch: int) -> Inputs:
    student = (randn(generator, batch, 2, 4, 2), randn(generator, batch, 3, 2, 2))
    return Inputs(student, (randn(generator, batch, 2, 4, 2), randn(generator, batch, 3, 2, 2)))


def other_sizes(generator: torch.Generator, batch: int) -> Inputs:
    student = (randn(generator, batch, 2, 4, 3), randn(generator, batch, 3, 2, 3))
    return Inputs(student, (randn(generator, batch, 2, 2, 3), randn(generator, batch, 3, 3, 3)))


CASES = [
    Case(
        "fsp",
        FSPLoss,
        layers,
        fsp_loss,
        zero_at_agreement=True,
        additive=True,
        wrong_name="student_features",
        scale=100.0,
        reason="its gradient grows with the third power of the features: beyond float16's range at 1e4",
    ),
    Case(
        "fsp_torchdistill",
        partial(FSPLoss, "torchdistill"),
        other_sizes,
        partial(fsp_loss, variant="torchdistill"),
        additive=True,
        wrong_name="student_features",
    ),
    Case("kdsvd", KDSVDLoss, layers, kdsvd_loss, zero_at_agreement=True, additive=True, wrong_name="student_features"),
    Case(
        "kdsvd_rows",
        partial(KDSVDLoss, 1, "rows"),
        other_sizes,
        partial(kdsvd_loss, variant="rows"),
        additive=True,
        wrong_name=None,
    ),
]
