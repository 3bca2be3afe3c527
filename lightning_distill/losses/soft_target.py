"""Soft targets (Hinton et al., 2015, https://arxiv.org/abs/1503.02531)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_distill.checks import check_positive
from lightning_distill.losses.logits import lift_pair
from lightning_distill.losses.standardize import soften
from lightning_distill.losses.temperature import Temperature, check_temperature, temperature_at


def kl_distillation_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float = 3.0,
    class_dim: int = 1,
    standardize: bool = False,
) -> Tensor:
    """KL(teacher || student) of the softened distributions, times ``temperature`` squared: a mean over samples.

    Summed over classes, averaged over every other dimension. Zero where the two agree.

    Args:
        student_logits: ``[B, C, ...]``; the only input that receives a gradient.
        teacher_logits: Same shape.
        temperature: Above 0. Its square keeps the gradient's size when it changes.
        class_dim: The dimension that holds the classes: 1 for images and maps, -1 for sequences ``[B, T, C]``.
        standardize: Standardise both sides' logits first (:func:`standardize_logits`, https://arxiv.org/abs/2403.01427).

    Returns:
        Scalar, in the inputs' precision but never below float32.

    Raises:
        ValueError: If the shapes differ or ``temperature`` is not above 0.

    Example:
        >>> import torch
        >>> kl_distillation_loss(torch.eye(3), torch.eye(3).flip(0), temperature=4.0)
        tensor(0.2306)
    """
    check_positive("temperature", temperature)
    student, teacher = lift_pair(student_logits, teacher_logits)
    student = soften(student, temperature, standardize, class_dim)
    teacher = soften(teacher, temperature, standardize, class_dim)
    student_log_probs, teacher_log_probs = F.log_softmax(student, dim=class_dim), F.log_softmax(teacher, dim=class_dim)
    divergence = F.kl_div(student_log_probs, teacher_log_probs, reduction="sum", log_target=True)
    samples = student_logits.numel() // student_logits.shape[class_dim]
    return divergence * (temperature**2 / samples)


class KLDistillationLoss(nn.Module):
    """Module form of :func:`kl_distillation_loss`; ``temperature`` may also be a function of ``progress``.

    Example:
        >>> import torch
        >>> KLDistillationLoss(temperature=4.0)(torch.eye(3), torch.eye(3).flip(0))
        tensor(0.2306)
    """

    def __init__(self, temperature: Temperature = 3.0, class_dim: int = 1, standardize: bool = False) -> None:
        super().__init__()
        check_temperature(temperature)
        self.temperature = temperature
        self.class_dim = class_dim
        self.standardize = standardize

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, *, progress: float = 0.0) -> Tensor:
        temperature = temperature_at(self.temperature, progress)
        return kl_distillation_loss(student_logits, teacher_logits, temperature, self.class_dim, self.standardize)

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}, class_dim={self.class_dim}, standardize={self.standardize}"
