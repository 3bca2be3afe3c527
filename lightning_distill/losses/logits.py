"""What the logit losses share: the checks of their arguments, and the logits without the labelled class."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_distill.checks import at_least_fp32, check_class_indices, check_same_shape

WITHOUT_LABELS = (
    "With mixup or cutmix choose a loss that needs no labels: KLDistillationLoss, HardDistillationLoss, DISTLoss, "
    "MLKDLoss, CTKDLoss, SoftTargetBCELoss, CosineLogitsLoss or MSELogitsLoss."
)


def lift_pair(student_logits: Tensor, teacher_logits: Tensor) -> tuple[Tensor, Tensor]:
    """Both sides in one precision of at least float32, the teacher's detached.

    Args:
        student_logits: ``[B, C, ...]``.
        teacher_logits: Same shape.

    Raises:
        ValueError: If the shapes differ or there is no class dimension.

    Example:
        >>> student, teacher = lift_pair(torch.ones(1, 2).half(), torch.ones(1, 2, requires_grad=True))
        >>> student.dtype, teacher.requires_grad
        (torch.float32, False)
    """
    check_same_shape(student_logits=student_logits, teacher_logits=teacher_logits)
    if student_logits.dim() < 2:
        raise ValueError(
            f"Expected `student_logits` to have the shape [B, C, ...], but got {list(student_logits.shape)}. "
            "Add the batch dimension."
        )
    student, teacher = at_least_fp32(student_logits), at_least_fp32(teacher_logits.detach())
    if student.dtype != teacher.dtype:
        dtype = torch.promote_types(student.dtype, teacher.dtype)
        student, teacher = student.to(dtype), teacher.to(dtype)
    return student, teacher


def check_labels(target: Tensor, logits: Tensor) -> Tensor:
    """``target`` ``[B, ...]`` as an index ``[B, 1, ...]`` into the class dimension of ``logits``.

    Raises:
        ValueError: If it does not hold integer class indices; the message names the losses that need none.

    Example:
        >>> check_labels(torch.tensor([2, 0]), torch.zeros(2, 3))
        tensor([[2],
                [0]])
    """
    check_class_indices("target", target, logits, way_out=WITHOUT_LABELS)
    return target.long().unsqueeze(1)


def exclude_class(logits: Tensor, index: Tensor) -> Tensor:
    """``logits`` ``[B, C, ...]`` with the class at ``index`` ``[B, 1, ...]`` set so low that its probability is 0.

    The lowest finite number, not minus infinity: a difference of two of them is finite, so 0 times it is 0 and not NaN.

    Example:
        >>> exclude_class(torch.zeros(1, 3), torch.tensor([[1]])).softmax(dim=1)
        tensor([[0.5000, 0.0000, 0.5000]])
    """
    return logits.scatter(1, index, torch.finfo(logits.dtype).min)


def as_matrix(logits: Tensor) -> Tensor:
    """``[B, C, ...]`` as one row per sample and position: ``[B * ..., C]``."""
    return logits if logits.dim() == 2 else logits.movedim(1, -1).flatten(0, -2)


def unit_direction(values: Tensor) -> Tensor:
    """Each sample divided by its norm over dimension 1; zeros stay zeros, with a gradient of ordinary size.

    Example:
        >>> unit_direction(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        tensor([[0.6000, 0.8000],
                [0.0000, 0.0000]])
    """
    norm = torch.linalg.vector_norm(values, dim=1, keepdim=True)
    return values / torch.where(norm > 0, norm, 1.0)
