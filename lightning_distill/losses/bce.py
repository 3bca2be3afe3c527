"""Soft targets for independent classes (used by Touvron et al., 2022, https://arxiv.org/abs/2212.04884)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_distill.checks import check_choice
from lightning_distill.losses.logits import lift_pair
from lightning_distill.losses.regression import REDUCTIONS, ClassReduction


def soft_target_bce_loss(student_logits: Tensor, teacher_logits: Tensor, reduction: ClassReduction = "sum") -> Tensor:
    """Binary cross-entropy to the teacher's sigmoids: a sum over classes, a mean over samples.

    Each class is a yes-or-no question, so it suits networks trained with binary cross-entropy and multi-label data.
    Not zero at agreement: it is a cross-entropy.

    Args:
        student_logits: ``[B, C, ...]``; the only input that receives a gradient.
        teacher_logits: Same shape.
        reduction: Over the classes: ``"sum"``, or ``"mean"``, which is the mean over all elements (cosub's form).

    Returns:
        Scalar, in the inputs' precision but never below float32.

    Raises:
        ValueError: If the shapes differ or ``reduction`` is unknown.

    Example:
        >>> import torch
        >>> soft_target_bce_loss(torch.eye(3), torch.eye(3).flip(0))
        tensor(2.1225)
    """
    check_choice("reduction", reduction, REDUCTIONS)
    student, teacher = lift_pair(student_logits, teacher_logits)
    elements = student.numel()
    loss = F.binary_cross_entropy_with_logits(student, teacher.sigmoid(), reduction="sum")
    return loss / (elements // student.shape[1] if reduction == "sum" else elements)


class SoftTargetBCELoss(nn.Module):
    """Module form of :func:`soft_target_bce_loss`.

    Example:
        >>> import torch
        >>> SoftTargetBCELoss()(torch.eye(3), torch.eye(3).flip(0))
        tensor(2.1225)
    """

    def __init__(self, reduction: ClassReduction = "sum") -> None:
        super().__init__()
        check_choice("reduction", reduction, REDUCTIONS)
        self.reduction: ClassReduction = reduction

    def forward(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        return soft_target_bce_loss(student_logits, teacher_logits, self.reduction)

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}"
