"""The losses for transformers."""

from __future__ import annotations

from functools import partial

import torch

from lightning_distill.losses import (
    MiniLMLoss,
    TokenLoss,
    ViTKDLoss,
    minilm_loss,
    token_loss,
    token_similarity_loss,
)
from tests.losses.cases import Case, Inputs, randn


class TokenSimilarity(torch.nn.Module):
    """The function as a module: it has none of its own."""

    def forward(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        return token_similarity_loss(student, teacher, temperature=0.5)


def tokens(generator: torch.Generator, batch: int) -> Inputs:
    return Inputs(randn(generator, batch, 5, 4), randn(generator, batch, 5, 4))


def other_width(generator: torch.Generator, batch: int) -> Inputs:
    return Inputs(randn(generator, batch, 5, 3), randn(generator, batch, 5, 4))


def packed(generator: torch.Generator, batch: int) -> Inputs:
    """Queries, keys and values side by side."""
    return Inputs(randn(generator, batch, 3, 12), randn(generator, batch, 3, 24))


def masked(generator: torch.Generator, batch: int) -> Inputs:
    """Padded sequences of different lengths."""
    student = tuple(randn(generator, batch, 4, 4) for _ in range(3))
    teacher = tuple(randn(generator, batch, 4, 4) for _ in range(3))
    mask = torch.arange(4) < (1 + torch.arange(batch) % 4).unsqueeze(1)
    return Inputs(student, teacher, {"mask": mask})


def blocks(generator: torch.Generator, batch: int) -> Inputs:
    """Two early blocks and the last; a class token ahead of four patches."""
    student = tuple(randn(generator, batch, 5, 3) for _ in range(3))
    return Inputs(student, tuple(randn(generator, batch, 5, 4) for _ in range(3)))


CASES = [
    Case("minilm", partial(MiniLMLoss, 2), packed, partial(minilm_loss, heads=2), additive=True, wrong_name=None),
    Case(
        "minilm_v1_masked",
        partial(MiniLMLoss, 2, "v1"),
        masked,
        partial(minilm_loss, heads=2, variant="v1"),
        zero_at_agreement=True,
        additive=True,
        wrong_name="student_projections",
    ),
    Case("vitkd", partial(ViTKDLoss, 3, 4), blocks, wrong_name=None),
    Case("tokens", TokenLoss, tokens, token_loss, zero_at_agreement=True, additive=True, wrong_name="student_features"),
    Case(
        "tokens_fd",
        partial(TokenLoss, 3, 4, distance="smooth_l1", whiten=True),
        other_width,
        additive=True,
        wrong_name=None,
    ),
    Case(
        "tokens_cosine",
        partial(TokenLoss, distance="cosine"),
        tokens,
        partial(token_loss, distance="cosine"),
        zero_at_agreement=True,
        additive=True,
        wrong_name="student_features",
    ),
    Case(
        "token_similarity",
        TokenSimilarity,
        tokens,
        zero_at_agreement=True,
        additive=True,
        wrong_name="student_features",
    ),
]
