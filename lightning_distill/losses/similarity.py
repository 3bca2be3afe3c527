"""Similarity-preserving distillation (Tung and Mori, 2019, https://arxiv.org/abs/1907.09682)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from lightning_distill.checks import check_choice
from lightning_distill.losses.embeddings import gram, unit_rows
from lightning_distill.losses.rows import pair_rows

SPVariant = Literal["paper", "l1"]
VARIANTS: tuple[SPVariant, ...] = ("paper", "l1")


def sp_loss(
    student_features: Tensor, teacher_features: Tensor, variant: SPVariant = "paper", gather: bool = False
) -> Tensor:
    """Squared difference of the samples' similarities: a mean over all B * B pairs. Zero at agreement.

    The similarities are the products of the flattened features, each sample's row divided by its norm. For a batch of
    one the loss is 0.

    Args:
        student_features: ``[B, ...]``; the only input that receives a gradient.
        teacher_features: ``[B, ...]``; the rest of the shape may differ.
        variant: The rows' norm: ``"paper"`` for the Euclidean one, ``"l1"`` for the sum of magnitudes, as torchdistill.
        gather: Relate the samples of all processes of a distributed run.

    Returns:
        Scalar, in the inputs' precision but never below float32.

    Raises:
        ValueError: If the numbers of samples differ or ``variant`` is unknown.

    Example:
        >>> import torch
        >>> sp_loss(torch.eye(2), torch.ones(2, 3))
        tensor(0.2929)
    """
    check_choice("variant", variant, VARIANTS)
    student, teacher = pair_rows(student_features, teacher_features, gather)
    difference = _similarities(student, variant) - _similarities(teacher, variant)
    return difference.square().mean()


def _similarities(rows: Tensor, variant: SPVariant) -> Tensor:
    # A sample of zeros has no similarity to any: its row stays 0, with a gradient of ordinary size.
    return unit_rows(gram(rows), order=2.0 if variant == "paper" else 1.0)


class SPLoss(nn.Module):
    """Module form of :func:`sp_loss`.

    Example:
        >>> import torch
        >>> SPLoss()(torch.eye(2), torch.ones(2, 3))
        tensor(0.2929)
    """

    def __init__(self, variant: SPVariant = "paper", gather: bool = False) -> None:
        super().__init__()
        check_choice("variant", variant, VARIANTS)
        self.variant: SPVariant = variant
        self.gather = gather

    def forward(self, student_features: Tensor, teacher_features: Tensor) -> Tensor:
        return sp_loss(student_features, teacher_features, self.variant, self.gather)

    def extra_repr(self) -> str:
        return f"variant={self.variant!r}, gather={self.gather}"
