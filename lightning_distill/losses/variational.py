"""Variational information distillation, VID (Ahn et al., 2019, https://arxiv.org/abs/1904.05835)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_distill.checks import at_least_fp32, check_positive
from lightning_distill.losses.simkd import match_sizes
from lightning_distill.losses.trained import lift_features, to_input


def vid_loss(mean: Tensor, teacher_features: Tensor, variance: Tensor) -> Tensor:
    """Gaussian negative log-likelihood of the teacher's features, without its constant: a mean over elements.

    ``0.5 * mean((teacher - mean) ** 2 / variance + log(variance))``. It has no lower bound at 0: where the student
    explains the teacher well, the variance falls and the loss becomes negative.

    Args:
        mean: What the student predicts, ``[B, C, ...]``; receives a gradient.
        teacher_features: Same shape.
        variance: ``[C]``, above 0; receives a gradient.

    Returns:
        Scalar, in the inputs' precision but never below float32.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> vid_loss(torch.zeros(1, 2), torch.full((1, 2), 2.0), torch.ones(2))
        tensor(2.)
    """
    mean, teacher = lift_features(mean, teacher_features)
    if variance.shape != mean.shape[1:2]:
        raise ValueError(
            f"Expected `variance` to hold one number for each of the {mean.shape[1]} channels, but got the shape "
            f"{list(variance.shape)}."
        )
    variance = at_least_fp32(variance)
    by_channel = (teacher - mean).square().transpose(0, 1).flatten(1).mean(dim=1)
    return 0.5 * (by_channel / variance + variance.log()).mean()


class VIDLoss(nn.Module):
    """:func:`vid_loss` with a trained regressor from the student's maps and a trained variance per channel.

    The regressor is three 1 x 1 convolutions without bias, with ReLUs between them; the variance is
    ``softplus(a) + eps``. Both belong to the loss: the optimizer and the checkpoint get them. (mdistiller keeps ``a``
    in a Python list, where no optimizer finds it.) The larger maps are averaged to the size of the smaller ones.

    Args:
        student_channels: Channels of the student's maps ``[B, C, H, W]``, or the width of its embedding ``[B, C]``.
        teacher_channels: The teacher's.
        initial_variance: Above ``eps``.
        eps: The least variance.

    Raises:
        ValueError: If ``initial_variance`` is not above ``eps``; in the call, if the features do not fit.

    Example:
        >>> loss = VIDLoss(3, 4)
        >>> loss(torch.zeros(2, 3, 5, 5), torch.zeros(2, 4, 5, 5)).detach()  # 0.5 * log(5)
        tensor(0.8047)
        >>> loss.variance.detach().round(decimals=4)
        tensor([5., 5., 5., 5.])
    """

    def __init__(
        self, student_channels: int, teacher_channels: int, initial_variance: float = 5.0, eps: float = 1e-5
    ) -> None:
        super().__init__()
        check_positive("eps", eps)
        if initial_variance <= eps:
            raise ValueError(f"Expected `initial_variance` to be above `eps`, {eps}, but got {initial_variance}.")
        self.student_channels = student_channels
        self.eps = eps
        self.regressor = nn.Sequential(
            nn.Conv2d(student_channels, teacher_channels, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(teacher_channels, teacher_channels, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(teacher_channels, teacher_channels, 1, bias=False),
        )
        # The inverse of softplus, in the form that does not overflow.
        start = initial_variance - eps
        self.raw_variance = nn.Parameter(torch.full((teacher_channels,), start + math.log(-math.expm1(-start))))

    @property
    def variance(self) -> Tensor:
        """``[C]``, never below float32."""
        return F.softplus(at_least_fp32(self.raw_variance)) + self.eps

    def forward(self, student_features: Tensor, teacher_features: Tensor) -> Tensor:
        student, teacher = match_sizes(student_features, teacher_features.detach())
        mean = self.regressor(to_input("student_features", student, self.student_channels, self.regressor))
        return vid_loss(mean, teacher[:, :, None, None] if teacher.dim() == 2 else teacher, self.variance)

    def extra_repr(self) -> str:
        return f"eps={self.eps}"
