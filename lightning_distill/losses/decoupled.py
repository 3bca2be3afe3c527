"""Decoupled knowledge distillation (Zhao et al., 2022, https://arxiv.org/abs/2203.08679)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_distill.checks import check_positive
from lightning_distill.losses.logits import check_labels, exclude_class, lift_pair
from lightning_distill.losses.standardize import soften
from lightning_distill.losses.temperature import Temperature, check_temperature, temperature_at


def dkd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    target: Tensor,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 4.0,
    standardize: bool = False,
) -> Tensor:
    """``alpha`` * KL(labelled class or not) + ``beta`` * KL(among the others), times ``temperature`` squared.

    Both divergences are teacher || student, summed over classes and averaged over samples. Zero at agreement.

    Args:
        student_logits: ``[B, C, ...]``; the only input that receives a gradient.
        teacher_logits: Same shape.
        target: ``[B, ...]`` integer class indices.
        alpha: Coefficient of the divergence of (p_target, 1 - p_target).
        beta: Coefficient of the divergence among the classes other than the target.
        temperature: Above 0.
        standardize: Standardise both sides' logits first (https://arxiv.org/abs/2403.01427).

    Returns:
        Scalar, in the inputs' precision but never below float32.

    Raises:
        ValueError: If the shapes differ, ``target`` holds no class indices or ``temperature`` is not above 0.

    Example:
        >>> import torch
        >>> dkd_loss(torch.eye(3), torch.eye(3).flip(0), torch.tensor([0, 1, 2]))
        tensor(0.8346)
    """
    check_positive("temperature", temperature)
    student, teacher = lift_pair(student_logits, teacher_logits)
    index = check_labels(target, student)
    student, teacher = soften(student, temperature, standardize), soften(teacher, temperature, standardize)
    student_others, teacher_others = exclude_class(student, index), exclude_class(teacher, index)
    target_divergence = F.kl_div(
        _binary_log_probs(student, student_others, index),
        _binary_log_probs(teacher, teacher_others, index),
        reduction="sum",
        log_target=True,
    )
    other_divergence = F.kl_div(
        F.log_softmax(student_others, dim=1), F.log_softmax(teacher_others, dim=1), reduction="sum", log_target=True
    )
    return (alpha * target_divergence + beta * other_divergence) * (temperature**2 / index.numel())


def _binary_log_probs(logits: Tensor, others: Tensor, index: Tensor) -> Tensor:
    """``[B, 2, ...]``: the logarithms of the target's probability and of all others' together, both exact near 0."""
    evidence = torch.cat([logits.gather(1, index), others.logsumexp(dim=1, keepdim=True)], dim=1)
    return F.log_softmax(evidence, dim=1)


class DKDLoss(nn.Module):
    """Module form of :func:`dkd_loss`; ``temperature`` may also be a function of ``progress``.

    Example:
        >>> import torch
        >>> DKDLoss()(torch.eye(3), torch.eye(3).flip(0), target=torch.tensor([0, 1, 2]))
        tensor(0.8346)
    """

    def __init__(
        self, alpha: float = 1.0, beta: float = 8.0, temperature: Temperature = 4.0, standardize: bool = False
    ) -> None:
        super().__init__()
        check_temperature(temperature)
        self.alpha = alpha
        self.beta = beta
        self.temperature = temperature
        self.standardize = standardize

    def forward(
        self, student_logits: Tensor, teacher_logits: Tensor, *, target: Tensor, progress: float = 0.0
    ) -> Tensor:
        temperature = temperature_at(self.temperature, progress)
        return dkd_loss(student_logits, teacher_logits, target, self.alpha, self.beta, temperature, self.standardize)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}, beta={self.beta}, temperature={self.temperature}, standardize={self.standardize}"
