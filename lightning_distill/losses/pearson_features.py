"""Distillation by the Pearson correlation of features, PKD (Cao et al., 2022, https://arxiv.org/abs/2207.02039)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lightning_distill.losses.trained import lift_features


def pkd_loss(student_features: Tensor, teacher_features: Tensor, eps: float = 1e-6) -> Tensor:
    """Half the mean squared difference of standardised features: 1 minus the mean correlation of the channels.

    Each channel is standardised over samples and positions, by its unbiased standard deviation plus ``eps``; one with
    equal values becomes zero. Zero where each channel of the student is an increasing linear function of the
    teacher's. It sees the whole batch.

    Args:
        student_features: ``[B, C, ...]``; the only input that receives a gradient.
        teacher_features: Same shape; an adapter joins other shapes.
        eps: See above.

    Returns:
        Scalar, in the inputs' precision but never below float32.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> pkd_loss(torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[3.0], [2.0], [1.0]])).round(decimals=4)
        tensor(1.3333)
    """
    student, teacher = lift_features(student_features, teacher_features)
    return (_standardized(student, eps) - _standardized(teacher, eps)).square().mean() / 2


def _standardized(features: Tensor, eps: float) -> Tensor:
    """``[C, N]``: every channel's values over samples and positions."""
    values = features.transpose(0, 1).flatten(1)
    centred = values - values.mean(dim=1, keepdim=True)
    square = centred.square().sum(dim=1, keepdim=True) / max(values.shape[1] - 1, 1)
    # Equal values up to rounding have no direction; the root is taken of 1 there, for a gradient of ordinary size.
    alike = square.detach() <= (
        values.detach().square().mean(dim=1, keepdim=True) * torch.finfo(values.dtype).eps ** 2 * 64
    )
    return torch.where(alike, 0.0, centred / (torch.where(alike, 1.0, square).sqrt() + eps))


class PKDLoss(nn.Module):
    """Module form of :func:`pkd_loss`."""

    def __init__(self, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, student_features: Tensor, teacher_features: Tensor) -> Tensor:
        return pkd_loss(student_features, teacher_features, self.eps)

    def extra_repr(self) -> str:
        return f"eps={self.eps}"
