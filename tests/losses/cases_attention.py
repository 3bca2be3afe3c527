"""Attention transfer."""

from __future__ import annotations

from functools import partial

import torch

from lightning_distill.losses import AffinityLoss, ATLoss, affinity_loss, at_loss
from tests.losses.cases import Case, Inputs, randn


def maps(generator: torch.Generator, batch: int) -> Inputs:
    return Inputs(randn(generator, batch, 3, 4, 2), randn(generator, batch, 3, 4, 2))


def layers(generator: torch.Generator, batch: int) -> Inputs:
    """Two layers of other channels and sizes on the two sides."""
    student = (randn(generator, batch, 2, 4, 4), randn(generator, batch, 3, 2, 2))
    return Inputs(student, (randn(generator, batch, 4, 3, 3), randn(generator, batch, 3, 2, 4)))


CASES = [
    Case("at", ATLoss, maps, at_loss, zero_at_agreement=True, additive=True, wrong_name=None),
    Case("at_layers", ATLoss, layers, at_loss, additive=True, wrong_name=None),
    Case(
        "at_paper",
        partial(ATLoss, variant="paper"),
        maps,
        partial(at_loss, variant="paper"),
        zero_at_agreement=True,
        additive=True,
        wrong_name=None,
    ),
    Case("at_cubed", partial(ATLoss, 3.0), maps, partial(at_loss, power=3.0), additive=True, wrong_name=None),
    Case(
        "affinity",
        AffinityLoss,
        maps,
        affinity_loss,
        zero_at_agreement=True,
        additive=True,
        wrong_name="student_features",
    ),
]
