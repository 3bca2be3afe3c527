"""Affinities of positions (He et al., CVPR 2019, "Knowledge Adaptation for Efficient Semantic Segmentation")."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lightning_distill.losses.embeddings import unit_rows
from lightning_distill.losses.trained import lift_features


def affinity_loss(student_features: Tensor, teacher_features: Tensor) -> Tensor:
    """Frobenius distance of each channel's affinities of positions, over the number of positions.

    A channel's affinities are the products of its unit map with itself. Summed over channels, a mean over samples.
    Zero where every channel agrees up to a factor. As both matrices have rank one, their distance only needs the
    cosine of the two maps: nothing of the size of all pairs of positions is computed.

    Args:
        student_features: ``[B, C, H, W]``; the only input that receives a gradient.
        teacher_features: Same shape; an adapter joins other shapes.

    Returns:
        Scalar, in the inputs' precision but never below float32.

    Raises:
        ValueError: If the shapes differ or are not those of maps.

    Example:
        >>> affinity_loss(torch.tensor([[[[2.0, 0.0]]]]), torch.tensor([[[[0.0, 1.0]]]]))  # sqrt(2) / 2
        tensor(0.7071)
    """
    student, teacher = lift_features(student_features, teacher_features)
    if student.dim() < 3:
        raise ValueError(f"Expected `student_features` to have the shape [B, C, H, W], but got {list(student.shape)}.")
    student, teacher = unit_rows(student.flatten(2)), unit_rows(teacher.flatten(2))
    # Squared norms are 1, or 0 for a dead channel.
    alive = (student.detach().abs().amax(dim=2) > 0).to(student.dtype) + teacher.square().sum(dim=2)
    squares = alive - 2 * (student * teacher).sum(dim=2).square()
    apart = squares.detach() > 8 * torch.finfo(squares.dtype).eps
    # The root is taken of 1 where there is no distance, so that no infinite slope is multiplied by 0.
    distances = torch.where(apart, torch.where(apart, squares, 1.0).sqrt(), 0.0)
    return distances.sum(dim=1).mean() / student.shape[2]


class AffinityLoss(nn.Module):
    """Module form of :func:`affinity_loss`."""

    def forward(self, student_features: Tensor, teacher_features: Tensor) -> Tensor:
        return affinity_loss(student_features, teacher_features)
