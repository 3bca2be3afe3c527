"""The losses with trained parts, the teacher's head, or connectors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from lightning_distill.losses.ab import ABLoss, ab_loss
from lightning_distill.losses.factor import FTLoss, Paraphraser
from lightning_distill.losses.mgd import MGDLoss
from lightning_distill.losses.ofd import OFDLoss
from lightning_distill.losses.pad import PADL2Loss
from lightning_distill.losses.review import ReviewKDLoss
from lightning_distill.losses.simkd import SimKDLoss
from lightning_distill.losses.srd import SRDLoss
from lightning_distill.losses.srrl import SRRLLoss
from tests.losses.cases import Case, Inputs, randn

STUDENT, TEACHER = 3, 4


def layers(generator: torch.Generator, batch: int) -> Inputs:
    """Two layers, not square, of other channels and sizes on the two sides."""
    student = randn(generator, batch, 2, 6, 4), randn(generator, batch, STUDENT, 3, 2)
    teacher = randn(generator, batch, STUDENT, 5, 6), randn(generator, batch, TEACHER, 3, 3)
    return Inputs(student, teacher)


def maps(generator: torch.Generator, batch: int) -> Inputs:
    return Inputs(randn(generator, batch, STUDENT, 2, 3), randn(generator, batch, TEACHER, 2, 3))


def sized_maps(generator: torch.Generator, batch: int) -> Inputs:
    return Inputs(randn(generator, batch, STUDENT, 4, 3), randn(generator, batch, TEACHER, 2, 2))


def embeddings(generator: torch.Generator, batch: int) -> Inputs:
    return Inputs(randn(generator, batch, STUDENT), randn(generator, batch, TEACHER))


def with_head(loss: Callable[..., nn.Module], width: int = TEACHER) -> nn.Module:
    return loss(STUDENT, TEACHER, nn.Linear(width, 5))


def two_layers(generator: torch.Generator, batch: int) -> Inputs:
    """Two layers, not square, of other channels but the same sizes."""
    student = randn(generator, batch, 2, 3, 4), randn(generator, batch, STUDENT, 2, 1)
    teacher = randn(generator, batch, STUDENT, 3, 4), randn(generator, batch, TEACHER, 2, 1)
    return Inputs(student, teacher)


def same_layers(generator: torch.Generator, batch: int) -> Inputs:
    """Two layers, equal in shape on both sides."""
    shapes = (batch, 2, 3, 4), (batch, STUDENT, 2, 1)
    return Inputs(
        tuple(randn(generator, *shape) for shape in shapes), tuple(randn(generator, *shape) for shape in shapes)
    )


def with_paraphraser() -> nn.Module:
    return FTLoss(STUDENT, TEACHER, variant="euclidean", paraphraser=Paraphraser(TEACHER))


def same_width_maps(generator: torch.Generator, batch: int) -> Inputs:
    return Inputs(randn(generator, batch, TEACHER, 2, 3), randn(generator, batch, TEACHER, 1, 2))


CASES = [
    Case(
        "review",
        partial(ReviewKDLoss, [2, STUDENT], [STUDENT, TEACHER]),
        layers,
        wrong_name="student_features",
        fast_gradcheck=True,
    ),
    Case("mgd", partial(MGDLoss, STUDENT, TEACHER), maps, wrong_name="student_features", fast_gradcheck=True),
    Case(
        "mgd_classification",
        partial(MGDLoss, STUDENT, TEACHER, 0.15, "channel", "sum"),
        maps,
        wrong_name="student_features",
        fast_gradcheck=True,
    ),
    Case("srrl", partial(with_head, SRRLLoss), embeddings, wrong_name="student_features"),
    Case("srrl_maps", partial(with_head, SRRLLoss, 6 * TEACHER), maps, wrong_name="student_features"),
    Case("simkd", partial(with_head, SimKDLoss), sized_maps, wrong_name="student_features", fast_gradcheck=True),
    Case("simkd_embedding", partial(with_head, SimKDLoss), embeddings, wrong_name="student_features"),
    Case(
        "ofd",
        partial(OFDLoss, [2, STUDENT], [STUDENT, TEACHER]),
        two_layers,
        wrong_name="student_features",
        fast_gradcheck=True,
    ),
    Case(
        "ofd_margins",
        partial(OFDLoss, STUDENT, TEACHER, [-torch.ones(TEACHER)], "sum"),
        maps,
        wrong_name="student_features",
        fast_gradcheck=True,
    ),
    Case("ab", ABLoss, same_layers, ab_loss, additive=True, wrong_name="student_features"),
    Case("ft", partial(FTLoss, STUDENT, TEACHER), sized_maps, wrong_name="student_features", fast_gradcheck=True),
    Case("ft_frozen", with_paraphraser, maps, wrong_name="student_features", fast_gradcheck=True),
    Case(
        "ft_attention",
        partial(FTLoss, STUDENT, TEACHER, variant="attention"),
        maps,
        wrong_name="student_features",
        fast_gradcheck=True,
    ),
    Case("pad_l2", partial(PADL2Loss, STUDENT, TEACHER), embeddings, wrong_name="student_features"),
    Case("pad_l2_maps", partial(PADL2Loss, TEACHER, TEACHER), same_width_maps, wrong_name="student_features"),
    Case("srd", partial(SRDLoss, STUDENT, TEACHER), embeddings, wrong_name="student_features"),
    Case("srd_maps", partial(SRDLoss, STUDENT, TEACHER), sized_maps, wrong_name="student_features"),
]
