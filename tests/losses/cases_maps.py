"""The losses that compare feature maps."""

from __future__ import annotations

import torch

from lightning_distill.losses.hint import HintLoss, hint_loss
from tests.losses.cases import Case, Inputs, randn


def same_maps(generator: torch.Generator, batch: int) -> Inputs:
    return Inputs(randn(generator, batch, 3, 4, 2), randn(generator, batch, 3, 4, 2))


CASES = [
    Case("hint", HintLoss, same_maps, function=hint_loss, zero_at_agreement=True, additive=True, wrong_name="student"),
]
