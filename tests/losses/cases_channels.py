"""The losses that compare channels."""

from __future__ import annotations

from functools import partial

import torch

from lightning_distill.losses import (
    CWDLoss,
    ICKDLoss,
    NSTLoss,
    PKDLoss,
    cwd_loss,
    ickd_loss,
    nst_loss,
    pkd_loss,
)
from tests.losses.cases import Case, Inputs, randn


def maps(generator: torch.Generator, batch: int) -> Inputs:
    return Inputs(randn(generator, batch, 3, 4, 2), randn(generator, batch, 3, 4, 2))


def many_channels(generator: torch.Generator, batch: int) -> Inputs:
    """More channels than positions, and not as many on the two sides."""
    return Inputs(randn(generator, batch, 5, 2, 1), randn(generator, batch, 4, 2, 2))


def other_sizes(generator: torch.Generator, batch: int) -> Inputs:
    return Inputs(randn(generator, batch, 3, 2, 2), randn(generator, batch, 3, 3, 2))


CASES = [
    Case("cwd", CWDLoss, maps, cwd_loss, zero_at_agreement=True, additive=True, wrong_name="student_features"),
    Case("nst", NSTLoss, maps, nst_loss, zero_at_agreement=True, additive=True, wrong_name=None),
    Case("nst_positions", NSTLoss, many_channels, nst_loss, additive=True, wrong_name=None),
    Case("pkd", PKDLoss, maps, pkd_loss, zero_at_agreement=True, wrong_name="student_features"),
    Case("ickd", ICKDLoss, maps, ickd_loss, zero_at_agreement=True, additive=True, wrong_name="student_features"),
    Case(
        "ickd_torchdistill",
        partial(ICKDLoss, "torchdistill"),
        other_sizes,
        partial(ickd_loss, variant="torchdistill"),
        wrong_name="student_features",
    ),
]
