"""What the losses of relations between samples share: the features as rows, one for each sample."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_distill.checks import at_least_fp32
from lightning_distill.losses.gather import gather_rows


def pair_rows(student_features: Tensor, teacher_features: Tensor, gather: bool = False) -> tuple[Tensor, Tensor]:
    """Both sides as ``[B, D]`` in one precision of at least float32, the teacher's detached.

    Args:
        student_features: ``[B, ...]``; flattened.
        teacher_features: ``[B, ...]``; the rest of the shape may differ, as only relations are compared.
        gather: Join the samples of all processes.

    Raises:
        ValueError: If the numbers of samples differ, or there is no feature dimension.

    Example:
        >>> student, teacher = pair_rows(torch.zeros(2, 3, 4, 4), torch.zeros(2, 5))
        >>> student.shape, teacher.shape
        (torch.Size([2, 48]), torch.Size([2, 5]))
    """
    if student_features.dim() < 2 or teacher_features.dim() < 2 or len(student_features) != len(teacher_features):
        raise ValueError(
            "Expected `student_features` and `teacher_features` to have the shape [B, ...] with the same B, but got "
            f"{list(student_features.shape)} and {list(teacher_features.shape)}."
        )
    student, teacher = at_least_fp32(student_features), at_least_fp32(teacher_features.detach())
    dtype = torch.promote_types(student.dtype, teacher.dtype)
    student, teacher = student.to(dtype).flatten(1), teacher.to(dtype).flatten(1)
    return (gather_rows(student), gather_rows(teacher)) if gather else (student, teacher)
