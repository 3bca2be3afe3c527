"""KL divergence between two tables of scores, with the student's gradient written out: one saved table, not five."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


class ScoreDivergence(torch.autograd.Function):
    """Weighted sum over rows of KL(teacher || student) of the scores' softmax along the last dimension."""

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, weight: Tensor) -> Tensor:
        student_log_probs, teacher_log_probs = F.log_softmax(student, dim=-1), F.log_softmax(teacher, dim=-1)
        teacher_probs = teacher_log_probs.exp()
        rows = (teacher_log_probs.sub_(student_log_probs).mul_(teacher_probs)).sum(dim=-1)
        ctx.save_for_backward(student_log_probs.exp_().sub_(teacher_probs), weight)
        return (rows * weight).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        difference, weight = ctx.saved_tensors
        return difference * (weight * gradients[0]).unsqueeze(-1), None, None


def score_divergence(student: Tensor, teacher: Tensor, weight: Tensor | float) -> Tensor:
    """Sum over rows of ``weight`` * KL(teacher || student) of the softmax of scores.

    Args:
        student: ``[..., K]``, at least float32; the only input that receives a gradient.
        teacher: Same shape and precision.
        weight: ``[...]`` or a number: the rows' weights.

    Example:
        >>> score_divergence(torch.zeros(1, 2), torch.tensor([[0.0, 1.0]]), 0.5)
        tensor(0.0555)
    """
    rows = student.new_tensor(weight) if isinstance(weight, float) else weight.to(student.dtype)
    value: Tensor = ScoreDivergence.apply(student, teacher, rows.expand(student.shape[:-1]))
    return value
