"""Prime-aware adaptive distillation, PAD (Zhang et al., 2020, https://arxiv.org/abs/2008.01458)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lightning_distill.checks import at_least_fp32, check_positive, check_same_shape
from lightning_distill.losses.trained import MapNorm, lift_features, to_input


def pad_l2_loss(student_features: Tensor, teacher_features: Tensor, log_variance: Tensor, eps: float = 1e-6) -> Tensor:
    """``(student - teacher)^2 / (eps + variance) + log variance``: a mean over elements.

    What the student says to be uncertain counts less. It is no distance: it is not 0 at agreement and may be negative.

    Args:
        student_features: ``[B, D]``; receives a gradient.
        teacher_features: Same shape.
        log_variance: Same shape: the logarithm of the student's uncertainty; receives a gradient.
        eps: Least variance, above 0.

    Returns:
        Scalar, in the inputs' precision but never below float32.

    Raises:
        ValueError: If the shapes differ or ``eps`` is not above 0.

    Example:
        >>> pad_l2_loss(torch.ones(2, 3), torch.zeros(2, 3), torch.zeros(2, 3))
        tensor(1.0000)
    """
    check_positive("eps", eps)
    check_same_shape(student_features=student_features, log_variance=log_variance)
    student, teacher = lift_features(student_features, teacher_features)
    log_variance = log_variance.to(student.dtype)
    # 1 / (eps + variance) from logarithms: the variance itself may overflow.
    precision = torch.exp(-torch.logaddexp(log_variance, log_variance.new_tensor(math.log(eps))))
    return ((student - teacher).square() * precision + log_variance).mean()


class PADL2Loss(nn.Module):
    """:func:`pad_l2_loss` of embeddings, with the uncertainty from a trained branch (linear, BatchNorm).

    Maps are averaged over their positions first.

    Args:
        student_channels: Width of the student's embedding, or channels of its maps; where it differs from the
            teacher's, a linear layer joins them.
        teacher_channels: The teacher's.
        eps: See :func:`pad_l2_loss`.

    Raises:
        ValueError: If ``eps`` is not above 0; in the call, if the features do not fit these channels.

    Example:
        >>> PADL2Loss(3, 4)(torch.ones(2, 3), torch.ones(2, 4)).shape
        torch.Size([])
    """

    def __init__(self, student_channels: int, teacher_channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        check_positive("eps", eps)
        self.student_channels = student_channels
        self.eps = eps
        same = student_channels == teacher_channels
        self.align = nn.Identity() if same else nn.Conv2d(student_channels, teacher_channels, 1)
        self.log_variance = nn.Sequential(nn.Conv2d(student_channels, teacher_channels, 1), MapNorm(teacher_channels))

    def forward(self, student_features: Tensor, teacher_features: Tensor) -> Tensor:
        student = to_input("student_features", average(student_features), self.student_channels, self.log_variance)
        log_variance = self.log_variance(student).flatten(1)
        return pad_l2_loss(self.align(student).flatten(1), average(teacher_features), log_variance, self.eps)

    def extra_repr(self) -> str:
        return f"eps={self.eps}"


def average(features: Tensor) -> Tensor:
    """Maps ``[B, C, H, W]`` averaged over their positions; anything else as it is.

    Example:
        >>> average(torch.ones(2, 3, 4, 5)).shape
        torch.Size([2, 3])
    """
    return at_least_fp32(features).mean(dim=(2, 3)) if features.dim() == 4 else features
