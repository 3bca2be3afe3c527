"""Hints: a student's features imitate the teacher's (Romero et al., 2014, https://arxiv.org/abs/1412.6550)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_distill.checks import at_least_fp32, check_same_shape


def hint_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared difference of two features: a mean over all elements. Zero where they agree.

    Args:
        student: Features of any shape, joined to the teacher's by an adapter; the only input that receives a gradient.
        teacher: Same shape.

    Returns:
        Scalar, in the inputs' precision but never below float32.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> import torch
        >>> hint_loss(torch.zeros(2, 3), torch.full((2, 3), 0.5))
        tensor(0.2500)
    """
    check_same_shape(student=student, teacher=teacher)
    student, teacher = at_least_fp32(student), at_least_fp32(teacher.detach())
    return F.mse_loss(student, teacher.to(student.dtype))


class HintLoss(nn.Module):
    """Module form of :func:`hint_loss`."""

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return hint_loss(student, teacher)
