"""Weighted soft labels, WSLD (Zhou et al., 2021, https://arxiv.org/abs/2102.00650)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_distill.checks import check_positive
from lightning_distill.losses.logits import check_labels, lift_pair

# Keeps the ratio finite where the teacher is sure of the label; the value of the authors' code.
EPS = 1e-7


def wsld_loss(student_logits: Tensor, teacher_logits: Tensor, target: Tensor, temperature: float = 2.0) -> Tensor:
    """Softened cross-entropy to the teacher, weighed per sample, times ``temperature`` squared: a mean over samples.

    The weight ``1 - exp(-CE_s / CE_t)``, with the two networks' cross-entropies to the label, is near 0 where the
    student knows the label better than the teacher. It gets no gradient.

    Args:
        student_logits: ``[B, C, ...]``; the only input that receives a gradient.
        teacher_logits: Same shape.
        target: ``[B, ...]`` integer class indices.
        temperature: Above 0; of the soft labels, not of the weights.

    Returns:
        Scalar, in the inputs' precision but never below float32.

    Raises:
        ValueError: If the shapes differ, ``target`` holds no class indices or ``temperature`` is not above 0.

    Example:
        >>> import torch
        >>> wsld_loss(torch.eye(3), torch.eye(3).flip(0), torch.tensor([0, 1, 2]))
        tensor(1.8237)
    """
    check_positive("temperature", temperature)
    student, teacher = lift_pair(student_logits, teacher_logits)
    index = check_labels(target, student)
    weight = _sample_weights(student.detach(), teacher, index.squeeze(1))
    student_log_probs = F.log_softmax(student / temperature, dim=1)
    soft_cross_entropy = -((teacher / temperature).softmax(dim=1) * student_log_probs).sum(dim=1)
    return (weight * soft_cross_entropy).mean() * temperature**2


def _sample_weights(student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
    student_error = F.cross_entropy(student, target, reduction="none")
    teacher_error = F.cross_entropy(teacher, target, reduction="none")
    return -torch.expm1(-student_error / (teacher_error + EPS))


class WSLDLoss(nn.Module):
    """Module form of :func:`wsld_loss`.

    Example:
        >>> import torch
        >>> WSLDLoss()(torch.eye(3), torch.eye(3).flip(0), target=torch.tensor([0, 1, 2]))
        tensor(1.8237)
    """

    def __init__(self, temperature: float = 2.0) -> None:
        super().__init__()
        check_positive("temperature", temperature)
        self.temperature = temperature

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, *, target: Tensor) -> Tensor:
        return wsld_loss(student_logits, teacher_logits, target, self.temperature)

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}"
