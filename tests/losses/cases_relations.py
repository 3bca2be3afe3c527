"""The losses that relate samples to each other."""

from __future__ import annotations

from functools import partial

import torch

from lightning_distill.losses import CCLoss, PKTLoss, RKDLoss, SPLoss, cc_loss, pkt_loss, rkd_loss, sp_loss
from tests.losses.cases import Case, Inputs, randn


def embeddings(generator: torch.Generator, batch: int) -> Inputs:
    return Inputs(randn(generator, batch, 6), randn(generator, batch, 6))


def maps(generator: torch.Generator, batch: int) -> Inputs:
    """Maps of other channels and sizes on the two sides: only relations are compared."""
    return Inputs(randn(generator, batch, 3, 2, 2), randn(generator, batch, 4, 3, 2))


CASES = [
    Case("sp", SPLoss, embeddings, sp_loss, zero_at_agreement=True, wrong_name=None),
    Case("sp_l1", partial(SPLoss, "l1"), maps, partial(sp_loss, variant="l1"), wrong_name=None),
    Case("pkt", PKTLoss, embeddings, pkt_loss, zero_at_agreement=True, wrong_name=None),
    Case("rkd", RKDLoss, embeddings, rkd_loss, zero_at_agreement=True, wrong_name=None),
    Case("rkd_maps", RKDLoss, maps, rkd_loss, wrong_name=None),
    Case("rkd_distance", partial(RKDLoss, 1.0, 0.0), embeddings, partial(rkd_loss, angle=0.0), wrong_name=None),
    Case(
        "rkd_normalized",
        partial(RKDLoss, normalize=True),
        embeddings,
        partial(rkd_loss, normalize=True),
        wrong_name=None,
    ),
    Case("cc", CCLoss, embeddings, cc_loss, zero_at_agreement=True, wrong_name=None),
    Case(
        "cc_bilinear",
        partial(CCLoss, kernel="bilinear"),
        maps,
        partial(cc_loss, kernel="bilinear"),
        wrong_name=None,
    ),
    Case(
        "cc_norm",
        partial(CCLoss, variant="norm"),
        embeddings,
        partial(cc_loss, variant="norm"),
        zero_at_agreement=True,
        wrong_name=None,
    ),
    Case(
        "cc_adjacent",
        partial(CCLoss, variant="adjacent"),
        embeddings,
        partial(cc_loss, variant="adjacent"),
        zero_at_agreement=True,
        wrong_name="student_features",
    ),
    Case("cc_projected", partial(CCLoss, 3, 4, dim=5), maps, wrong_name="student"),
]
