"""Neuron selectivity transfer, NST (Huang and Wang, 2017, https://arxiv.org/abs/1707.01219)."""

from __future__ import annotations

from torch import Tensor, nn

from lightning_distill.losses.embeddings import gram, lift_features, unit_rows
from lightning_distill.losses.precision import full_precision
from lightning_distill.losses.simkd import match_sizes


def nst_loss(student_features: Tensor, teacher_features: Tensor) -> Tensor:
    """Maximum mean discrepancy of the channels' unit maps, kernel ``(a . b) ** 2``: a mean over pairs of channels.

    ``mean K(t, t) + mean K(s, s) - 2 * mean K(s, t)``, then a mean over samples. Zero where both sides hold the same
    set of maps, in any order; the numbers of channels may differ. The larger maps are averaged to the size of the
    smaller ones. The kernel's means are products of Gram matrices, of channels or of positions, whichever are smaller.

    Args:
        student_features: ``[B, C, H, W]``; the only input that receives a gradient.
        teacher_features: ``[B, C', H', W']``.

    Returns:
        Scalar, in the inputs' precision but never below float32.

    Raises:
        ValueError: If the features are no maps or the batches differ.

    Example:
        >>> import torch
        >>> nst_loss(torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[[0.0, 3.0]]]]))
        tensor(2.)
    """
    for name, maps in (("student_features", student_features), ("teacher_features", teacher_features)):
        if maps.dim() != 4:
            raise ValueError(f"Expected `{name}` to have the shape [B, C, H, W], but got {list(maps.shape)}.")
    student, teacher = lift_features(*match_sizes(student_features, teacher_features))
    student, teacher = (unit_rows(maps.flatten(2)) for maps in (student, teacher))
    if student.shape[2] <= max(student.shape[1], teacher.shape[1]):
        return _by_positions(student, teacher)
    return _by_channels(student, teacher)


def _by_positions(student: Tensor, teacher: Tensor) -> Tensor:
    """The sum of (a . b)^2 over all a, b is the inner product of the two sides' Gram matrices of positions."""
    difference = gram(student.mT) / student.shape[1] - gram(teacher.mT) / teacher.shape[1]
    return difference.square().sum(dim=(1, 2)).mean()


def _by_channels(student: Tensor, teacher: Tensor) -> Tensor:
    with full_precision(student):
        cross = student @ teacher.mT
    own = gram(student).square().mean() + gram(teacher).square().mean()
    return own - 2 * cross.square().mean()


class NSTLoss(nn.Module):
    """Module form of :func:`nst_loss`.

    Example:
        >>> import torch
        >>> NSTLoss()(torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[[0.0, 3.0]]]]))
        tensor(2.)
    """

    def forward(self, student_features: Tensor, teacher_features: Tensor) -> Tensor:
        return nst_loss(student_features, teacher_features)
