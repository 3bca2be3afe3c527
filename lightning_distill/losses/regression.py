"""Logits as a regression target (Kim et al., 2021, https://arxiv.org/abs/2105.08919, compare it with KL)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_distill.checks import check_choice
from lightning_distill.losses.logits import lift_pair

ClassReduction = Literal["sum", "mean"]
REDUCTIONS: tuple[ClassReduction, ...] = ("sum", "mean")


def mse_logits_loss(
    student_logits: Tensor, teacher_logits: Tensor, center: bool = False, reduction: ClassReduction = "sum"
) -> Tensor:
    """Squared difference of the logits: a sum over classes, a mean over samples. Zero at agreement.

    Args:
        student_logits: ``[B, C, ...]``; the only input that receives a gradient.
        teacher_logits: Same shape.
        center: Subtract each sample's mean logit first: softmax ignores it, so the student need not match it.
        reduction: Over the classes: ``"sum"``, or ``"mean"``, which is the mean over all elements.

    Returns:
        Scalar, in the inputs' precision but never below float32.

    Raises:
        ValueError: If the shapes differ or ``reduction`` is unknown.

    Example:
        >>> mse_logits_loss(torch.eye(3), torch.eye(3).flip(0))
        tensor(1.3333)
    """
    check_choice("reduction", reduction, REDUCTIONS)
    student, teacher = lift_pair(student_logits, teacher_logits)
    if center:
        student, teacher = _centered(student), _centered(teacher)
    elements = student.numel()
    loss = F.mse_loss(student, teacher, reduction="sum")
    return loss / (elements // student.shape[1] if reduction == "sum" else elements)


def cosine_logits_loss(student_logits: Tensor, teacher_logits: Tensor, center: bool = False) -> Tensor:
    """One minus the cosine between the two sides' logits: a mean over samples. Zero where the directions agree.

    Args:
        student_logits: ``[B, C, ...]``; the only input that receives a gradient. A sample of zeros has cosine 0.
        teacher_logits: Same shape.
        center: Subtract each sample's mean logit first; the cosine is then Pearson's correlation.

    Returns:
        Scalar, in the inputs' precision but never below float32.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> cosine_logits_loss(torch.eye(3), torch.eye(3).flip(0))
        tensor(0.6667)
    """
    student, teacher = lift_pair(student_logits, teacher_logits)
    if center:
        student, teacher = _centered(student), _centered(teacher)
    scale = _norm(student) * _norm(teacher)
    return 1 - ((student * teacher).sum(dim=1) / scale).mean()


def _centered(logits: Tensor) -> Tensor:
    return logits - logits.mean(dim=1, keepdim=True)


def _norm(logits: Tensor) -> Tensor:
    """Norms over the classes; 1 for zeros, whose cosine is then 0 with a gradient of ordinary size."""
    norm: Tensor = torch.linalg.vector_norm(logits, dim=1)
    return norm.add(norm == 0)


class MSELogitsLoss(nn.Module):
    """Module form of :func:`mse_logits_loss`.

    Example:
        >>> MSELogitsLoss()(torch.eye(3), torch.eye(3).flip(0))
        tensor(1.3333)
    """

    def __init__(self, center: bool = False, reduction: ClassReduction = "sum") -> None:
        super().__init__()
        check_choice("reduction", reduction, REDUCTIONS)
        self.center = center
        self.reduction: ClassReduction = reduction

    def forward(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        return mse_logits_loss(student_logits, teacher_logits, self.center, self.reduction)

    def extra_repr(self) -> str:
        return f"center={self.center}, reduction={self.reduction!r}"


class CosineLogitsLoss(nn.Module):
    """Module form of :func:`cosine_logits_loss`.

    Example:
        >>> CosineLogitsLoss()(torch.eye(3), torch.eye(3).flip(0))
        tensor(0.6667)
    """

    def __init__(self, center: bool = False) -> None:
        super().__init__()
        self.center = center

    def forward(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        return cosine_logits_loss(student_logits, teacher_logits, self.center)

    def extra_repr(self) -> str:
        return f"center={self.center}"
