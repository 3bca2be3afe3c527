"""Relational distillation, RKD (Park et al., 2019, https://arxiv.org/abs/1904.05068)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lightning_distill.losses.embeddings import feature_rows, gram, unit_rows

# Multiples of the rounding error of a Gram matrix below which a squared distance is rounding, not signal.
ROUNDING = 8.0
# Elements of the triplet tensors at one time: all of them up to a batch of 256, blocks of vertices beyond.
BLOCK = 2**24


class Pairs(NamedTuple):
    """Inner products of the centred rows and their distances; both ``[B, B]``."""

    products: Tensor
    distances: Tensor


def _pairs(rows: Tensor) -> Pairs:
    """Distances between rows ``[B, D]``; exactly 0, without a gradient, for duplicates and on the diagonal."""
    # Neither distances nor angles see a common offset, but the rounding of a Gram matrix does.
    products = gram(rows - rows.detach().mean(dim=0))
    squares = products.diagonal()
    sums = squares + squares.unsqueeze(1)
    squared = torch.sub(sums, products, alpha=2)
    distinct = squared.detach() > (ROUNDING * torch.finfo(rows.dtype).eps) * sums.detach()
    distinct.fill_diagonal_(False)
    # The root is taken of 1 where there is no distance, so that no infinite slope is multiplied by 0.
    return Pairs(products, torch.where(distinct, torch.where(distinct, squared, 1.0).sqrt(), 0.0))


def _relative_distances(distances: Tensor) -> Tensor:
    """Distances over their mean between different samples; zeros if there is none."""
    count = distances.shape[0]
    mean = distances.sum() / max(count * (count - 1), 1)
    return distances / torch.where(mean > 0, mean, 1.0)


def _cosines(products: Tensor, inverse: Tensor, start: int, stop: int) -> Tensor:
    """Cosine of the angle at vertex i between the samples j and k, for vertices from ``start``: ``[I, B, B]``."""
    own = products.diagonal()[start:stop, None]
    cosines = products - products[start:stop, None, :]
    cosines -= (products[start:stop] - own).unsqueeze(2)
    cosines *= inverse[start:stop, :, None]
    cosines *= inverse[start:stop, None, :]
    return cosines


def _inverse(distances: Tensor) -> Tensor:
    return torch.where(distances > 0, 1 / torch.where(distances > 0, distances, 1.0), 0.0)


class AngleDifference(torch.autograd.Function):
    """Mean Huber distance of all triplets' cosines, from ``[B, B]`` products and distances.

    The gradient is computed with the value, block by block, so that nothing of the size of all triplets is kept.
    """

    @staticmethod
    def forward(ctx: Any, products: Tensor, distances: Tensor, teacher: Tensor, teacher_distances: Tensor) -> Tensor:
        count = products.shape[0]
        inverse, teacher_inverse = _inverse(distances), _inverse(teacher_distances)
        total = products.new_zeros(())
        pull, by_distance = torch.zeros_like(products), torch.zeros_like(products)
        block = max(1, BLOCK // count**2)
        for start in range(0, count, block):
            stop = min(start + block, count)
            cosines = _cosines(products, inverse, start, stop)
            difference = cosines - _cosines(teacher, teacher_inverse, start, stop)
            slope = difference.clamp(-1, 1)  # of the Huber distance, whose value is slope * (difference - slope / 2)
            total += (difference.sub_(slope, alpha=0.5).mul_(slope)).sum()
            by_distance[start:stop] = cosines.mul_(slope).sum(dim=2)
            slope *= inverse[start:stop, :, None]
            slope *= inverse[start:stop, None, :]
            rows = slope.sum(dim=2)
            pull += slope.sum(dim=0)
            pull[start:stop] -= 2 * rows
            pull.diagonal()[start:stop] += rows.sum(dim=1)
        scale = 1 / count**3
        # A cosine falls with both of its distances, and is counted for (j, k) and (k, j).
        ctx.save_for_backward(pull * scale, by_distance * inverse * (-2 * scale))
        return total * scale

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        pull, by_distance = ctx.saved_tensors
        return gradients[0] * pull, gradients[0] * by_distance, None, None


def _distance_part(student: Pairs, teacher: Pairs) -> Tensor:
    return F.smooth_l1_loss(_relative_distances(student.distances), _relative_distances(teacher.distances))


def _angle_part(student: Pairs, teacher: Pairs) -> Tensor:
    value: Tensor = AngleDifference.apply(*student, *teacher)
    return value


def rkd_loss(
    student_features: Tensor,
    teacher_features: Tensor,
    distance: float = 1.0,
    angle: float = 2.0,
    normalize: bool = False,
    gather: bool = False,
) -> Tensor:
    """``distance`` * the pairs' part + ``angle`` * the triplets' part: Huber distances of relations between samples.

    The pairs' part compares all ``B * B`` distances, each side's divided by its mean over different samples; the
    triplets' part all ``B * B * B`` cosines of the angles at one sample between two others. Both are means over all
    entries. Zero where the two sides agree up to rotation and scale, and with one sample.

    Args:
        student_features: ``[B, ...]``; the only input that receives a gradient. Duplicates have none between them.
        teacher_features: ``[B, ...]``, of any width.
        distance: Coefficient of the pairs' part; the paper's ratio is 1 : 2.
        angle: Coefficient of the triplets' part.
        normalize: Divide every sample by its norm first, as MMRazor.
        gather: Compare the samples of all ranks. The triplets' part then grows with the third power of all of them.

    Returns:
        Scalar, in the inputs' precision but never below float32.

    Raises:
        ValueError: If the numbers of samples differ.

    Example:
        >>> rkd_loss(torch.eye(3), torch.tensor([[0.0], [1.0], [3.0]]))
        tensor(0.2407)
    """
    student, teacher = feature_rows(student_features, teacher_features, gather)
    if normalize:
        student, teacher = unit_rows(student), unit_rows(teacher)
    student_pairs, teacher_pairs = _pairs(student), _pairs(teacher)
    # A part that is switched off costs nothing; without any the loss is 0, still with a gradient.
    parts = [
        coefficient * part(student_pairs, teacher_pairs)
        for coefficient, part in ((distance, _distance_part), (angle, _angle_part))
        if coefficient
    ]
    return torch.stack(parts).sum() if parts else 0.0 * student.sum()


class RKDLoss(nn.Module):
    """Module form of :func:`rkd_loss`.

    Example:
        >>> RKDLoss()(torch.eye(3), torch.tensor([[0.0], [1.0], [3.0]]))
        tensor(0.2407)
    """

    def __init__(
        self, distance: float = 1.0, angle: float = 2.0, normalize: bool = False, gather: bool = False
    ) -> None:
        super().__init__()
        self.distance = distance
        self.angle = angle
        self.normalize = normalize
        self.gather = gather

    def forward(self, student_features: Tensor, teacher_features: Tensor) -> Tensor:
        return rkd_loss(student_features, teacher_features, self.distance, self.angle, self.normalize, self.gather)

    def extra_repr(self) -> str:
        return f"distance={self.distance}, angle={self.angle}, normalize={self.normalize}, gather={self.gather}"
