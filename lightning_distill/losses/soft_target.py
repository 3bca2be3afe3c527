"""Soft targets (Hinton et al., 2015, https://arxiv.org/abs/1503.02531)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_distill.checks import at_least_fp32, check_positive, check_same_shape


def kl_distillation_loss(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float = 3.0, class_dim: int = 1
) -> Tensor:
    """KL(teacher || student) of the softened distributions, times ``temperature`` squared: a mean over samples.

    Summed over classes, averaged over every other dimension. Zero where the two agree.

    Args:
        student_logits: ``[B, C, ...]``; the only input that receives a gradient.
        teacher_logits: Same shape.
        temperature: Above 0. Its square keeps the gradient's size when it changes.
        class_dim: The dimension that holds the classes: 1 for images and maps, -1 for sequences ``[B, T, C]``.

    Returns:
        Scalar, in the inputs' precision but never below float32.

    Raises:
        ValueError: If the shapes differ or ``temperature`` is not above 0.

    Example:
        >>> import torch
        >>> kl_distillation_loss(torch.eye(3), torch.eye(3).flip(0), temperature=4.0)
        tensor(0.2306)
    """
    check_same_shape(student_logits=student_logits, teacher_logits=teacher_logits)
    check_positive("temperature", temperature)
    student_log_probs = F.log_softmax(at_least_fp32(student_logits) / temperature, dim=class_dim)
    teacher_log_probs = F.log_softmax(at_least_fp32(teacher_logits.detach()) / temperature, dim=class_dim)
    divergence = F.kl_div(student_log_probs, teacher_log_probs, reduction="sum", log_target=True)
    samples = student_logits.numel() // student_logits.shape[class_dim]
    return divergence * (temperature**2 / samples)


class KLDistillationLoss(nn.Module):
    """Module form of :func:`kl_distillation_loss`.

    Example:
        >>> import torch
        >>> KLDistillationLoss(temperature=4.0)(torch.eye(3), torch.eye(3).flip(0))
        tensor(0.2306)
    """

    def __init__(self, temperature: float = 3.0, class_dim: int = 1) -> None:
        super().__init__()
        check_positive("temperature", temperature)
        self.temperature = temperature
        self.class_dim = class_dim

    def forward(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        return kl_distillation_loss(student_logits, teacher_logits, self.temperature, self.class_dim)

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}, class_dim={self.class_dim}"
