"""Activation boundaries, AB (Heo et al., 2019, https://arxiv.org/abs/1811.03233)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from lightning_distill.checks import check_choice, check_positive
from lightning_distill.losses.trained import Features, lift_features, pair_features

Reduction = Literal["mean", "sum"]
REDUCTIONS: tuple[Reduction, ...] = ("mean", "sum")


def ab_loss(
    student_features: Features, teacher_features: Features, margin: float = 1.0, reduction: Reduction = "mean"
) -> Tensor:
    """Squared hinge loss of the student's signs: above ``margin`` where the teacher is positive, else below it.

    The size of the teacher's values does not count. Several layers are added up: the deepest counts 1, the one before
    it 1/2, and so on.

    Args:
        student_features: ``[B, C, ...]`` before the ReLU, or one for each layer; all that receives a gradient.
        teacher_features: Same shapes.
        margin: Distance from 0 that the student must keep, above 0.
        reduction: ``"mean"`` over all elements; ``"sum"`` over all but a mean over samples, as published (there with
            the factor 3/1000).

    Returns:
        Scalar, in the inputs' precision but never below float32.

    Raises:
        ValueError: If the shapes differ, ``margin`` is not above 0 or ``reduction`` is unknown.

    Example:
        >>> ab_loss(torch.tensor([[2.0, 0.0, 0.0, -2.0]]), torch.tensor([[5.0, 5.0, -5.0, -5.0]]), reduction="sum")
        tensor(2.)
    """
    check_positive("margin", margin)
    check_choice("reduction", reduction, REDUCTIONS)
    pairs = pair_features(student_features, teacher_features)
    losses = [
        _of_layer(student, teacher, margin, reduction) / 2 ** (len(pairs) - 1 - i)
        for i, (student, teacher) in enumerate(pairs)
    ]
    return torch.stack(losses).sum()


def _of_layer(student: Tensor, teacher: Tensor, margin: float, reduction: Reduction) -> Tensor:
    student, teacher = lift_features(student, teacher)
    squares = (margin + torch.where(teacher > 0, -student, student)).relu().square()
    return squares.mean() if reduction == "mean" else squares.sum() / student.shape[0]


class ABLoss(nn.Module):
    """Module form of :func:`ab_loss`. Where the shapes differ, a trained connector goes before it, as an adapter.

    Example:
        >>> ABLoss()(torch.tensor([[2.0, 0.0]]), torch.tensor([[5.0, 5.0]]))
        tensor(0.5000)
    """

    def __init__(self, margin: float = 1.0, reduction: Reduction = "mean") -> None:
        super().__init__()
        check_positive("margin", margin)
        check_choice("reduction", reduction, REDUCTIONS)
        self.margin = margin
        self.reduction: Reduction = reduction

    def forward(self, student_features: Features, teacher_features: Features) -> Tensor:
        return ab_loss(student_features, teacher_features, self.margin, self.reduction)

    def extra_repr(self) -> str:
        return f"margin={self.margin}, reduction={self.reduction!r}"
