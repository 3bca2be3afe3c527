"""The losses with a trained regressor."""

from __future__ import annotations

from functools import partial

import torch

from lightning_distill.losses import VIDLoss
from tests.losses.cases import Case, Inputs, randn


def maps(generator: torch.Generator, batch: int) -> Inputs:
    return Inputs(randn(generator, batch, 3, 4, 2), randn(generator, batch, 4, 2, 2))


def embeddings(generator: torch.Generator, batch: int) -> Inputs:
    return Inputs(randn(generator, batch, 3), randn(generator, batch, 4))


CASES = [
    Case("vid", partial(VIDLoss, 3, 4), maps, additive=True, wrong_name="student_features"),
    Case("vid_embeddings", partial(VIDLoss, 3, 4), embeddings, additive=True, wrong_name="student_features"),
]
