"""Normalized knowledge distillation, NKD (Yang et al., 2023, https://arxiv.org/abs/2303.13005)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_distill.checks import check_positive
from lightning_distill.losses.logits import check_labels, exclude_class, lift_pair


def nkd_loss(
    student_logits: Tensor, teacher_logits: Tensor, target: Tensor, gamma: float = 1.5, temperature: float = 1.0
) -> Tensor:
    """Cross-entropies: the target class weighed by the teacher, and the other classes normalised among themselves.

    ``-p_t[y] log p_s[y] - gamma * temperature**2 * sum_{i != y} n_t[i] log n_s[i]``, a mean over samples. The first
    part has temperature 1. Not zero at agreement: these are cross-entropies, not divergences.

    Args:
        student_logits: ``[B, C, ...]``; the only input that receives a gradient.
        teacher_logits: Same shape.
        target: ``[B, ...]`` integer class indices.
        gamma: Coefficient of the other classes' part: 1.5 on ImageNet with ``temperature=1``, 3.5 on CIFAR with 3.
        temperature: Above 0; of the other classes' part.

    Returns:
        Scalar, in the inputs' precision but never below float32.

    Raises:
        ValueError: If the shapes differ, ``target`` holds no class indices or ``temperature`` is not above 0.

    Example:
        >>> import torch
        >>> nkd_loss(torch.eye(3), torch.eye(3).flip(0), torch.tensor([0, 1, 2]))
        tensor(1.2235)
    """
    check_positive("temperature", temperature)
    student, teacher = lift_pair(student_logits, teacher_logits)
    index = check_labels(target, student)
    teacher_prob = teacher.softmax(dim=1).gather(1, index)
    target_part = (teacher_prob * F.log_softmax(student, dim=1).gather(1, index)).sum()
    student_others = F.log_softmax(exclude_class(student / temperature, index), dim=1)
    teacher_others = exclude_class(teacher / temperature, index).softmax(dim=1)
    other_part = (teacher_others * student_others).sum()
    return -(target_part + gamma * temperature**2 * other_part) / index.numel()


class NKDLoss(nn.Module):
    """Module form of :func:`nkd_loss`.

    Example:
        >>> import torch
        >>> NKDLoss()(torch.eye(3), torch.eye(3).flip(0), target=torch.tensor([0, 1, 2]))
        tensor(1.2235)
    """

    def __init__(self, gamma: float = 1.5, temperature: float = 1.0) -> None:
        super().__init__()
        check_positive("temperature", temperature)
        self.gamma = gamma
        self.temperature = temperature

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, *, target: Tensor) -> Tensor:
        return nkd_loss(student_logits, teacher_logits, target, self.gamma, self.temperature)

    def extra_repr(self) -> str:
        return f"gamma={self.gamma}, temperature={self.temperature}"
