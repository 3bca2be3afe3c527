"""Self-supervised distillation by singular vectors, KDSVD (Lee et al., 2018, https://arxiv.org/abs/1807.06819)."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lightning_distill.checks import at_least_fp32, check_choice, check_positive
from lightning_distill.losses.precision import full_precision
from lightning_distill.losses.trained import Features, as_list, check_layers

KDSVDVariant = Literal["channels", "rows"]
VARIANTS = ("channels", "rows")
# More vectors of the student than of the teacher, to find the ones that match.
SPARE = 3
# Width of the radial basis function: exp(-d ** 2 / 8).
WIDTH = 8.0
# Squared singular values closer than this share of the largest count as equal: their vectors are arbitrary.
GAP = 1e-4


class RightVectors(torch.autograd.Function):
    """Right singular vectors of ``[B, M, N]`` by falling singular value: ``[B, N, N]``.

    The gradient leaves out what would turn vectors of (almost) equal singular values into each other: these are
    arbitrary, and the derivative of the decomposition is infinite there.
    """

    @staticmethod
    def forward(ctx: Any, matrices: Tensor) -> tuple[Tensor, Tensor]:
        rows, columns = matrices.shape[-2:]
        # In float64: the error of a vector is that of the matrix over the gap between two singular values.
        dtype, matrices = matrices.dtype, matrices.double()
        # A wide matrix has vectors of singular value 0, too: all of them take part in the gradient.
        _, values, transposed = torch.linalg.svd(matrices, full_matrices=rows < columns)
        vectors = transposed.mT
        ctx.save_for_backward(matrices, F.pad(values, (0, columns - values.shape[-1])).square(), vectors)
        ctx.dtype = dtype
        vectors, values = vectors.to(dtype), values.to(dtype)
        ctx.mark_non_differentiable(values)
        return vectors, values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        matrices, squares, vectors = ctx.saved_tensors
        gaps = squares.unsqueeze(-2) - squares.unsqueeze(-1)
        distinct = gaps.abs() > GAP * squares[..., :1, None]
        inverse = torch.where(distinct, 1 / torch.where(distinct, gaps, 1.0), 0.0)
        turned = vectors @ (inverse * (vectors.mT @ gradients[0].double())) @ vectors.mT
        product: Tensor = (matrices @ (turned + turned.mT)).to(ctx.dtype)
        return product


def _matrices(maps: Tensor, variant: KDSVDVariant) -> Tensor:
    maps = at_least_fp32(maps)
    return maps.flatten(2).mT if variant == "channels" else maps.flatten(1, 2)


def _vectors(maps: Tensor, variant: KDSVDVariant, count: int) -> tuple[Tensor, Tensor]:
    with full_precision(maps):
        vectors, values = RightVectors.apply(_matrices(maps, variant))
    return vectors[..., :count], F.normalize(values[..., :count], dim=-1)


def _aligned(student: Tensor, teacher: Tensor) -> Tensor:
    """For each vector of the teacher the student's that is closest to it, turned to the same side."""
    cosines = (student.detach().unsqueeze(3) * teacher.unsqueeze(2)).sum(dim=1)
    chosen = cosines.abs().argmax(dim=1, keepdim=True)
    return student.gather(2, chosen.expand(-1, student.shape[1], -1)) * cosines.gather(1, chosen).sign()


def _kernel(first: Tensor, second: Tensor) -> Tensor:
    """Radial basis function of every coordinate of one layer's vectors with every one of the next's."""
    return torch.exp(-(first.unsqueeze(2) - second.unsqueeze(1)).square() / WIDTH)


def kdsvd_loss(
    student_features: Features, teacher_features: Features, k: int = 1, variant: KDSVDVariant = "channels"
) -> Tensor:
    """Squared difference of how the main singular vectors of a layer relate to the previous layer's.

    Summed over coordinates and pairs of layers, a mean over samples. Zero where the vectors agree up to their sign. The
    student's vectors are turned to the teacher's side; which side that is, the decomposition decides, and the value
    depends on it.

    Args:
        student_features: At least two layers ``[B, C, H, W]``, from the first to the deepest; all that receives a
            gradient.
        teacher_features: As many, with the student's channels (``"channels"``) or widths (``"rows"``).
        k: Number of singular vectors.
        variant: What a map's matrix is: ``"channels"``: ``[H * W, C]``, the paper's and RepDistiller's; ``"rows"``:
            ``[C * H, W]``, mdistiller's, which needs the same width in all layers.

    Returns:
        Scalar, in the inputs' precision but never below float32.

    Raises:
        ValueError: If there are fewer than two layers, or the shapes do not fit.

    Example:
        >>> first, second = torch.eye(2).reshape(1, 2, 2, 1), torch.eye(2).reshape(1, 2, 2, 1)
        >>> maps = [torch.tensor([3.0, 1.0]).reshape(1, 2, 1, 1) * first, second]
        >>> kdsvd_loss(maps, maps)
        tensor(0.)
    """
    check_choice("variant", variant, VARIANTS)
    check_positive("k", k)
    student, teacher = as_list(student_features), [t.detach() for t in as_list(teacher_features)]
    check_layers("teacher_features", teacher, len(student))
    _check_shapes(student, teacher, 1 if variant == "channels" else 3)
    pairs = []
    for ours, theirs in zip(student, teacher, strict=True):
        vectors, values = _vectors(theirs, variant, k)
        closest = _aligned(_vectors(ours, variant, k + SPARE)[0].to(vectors.dtype), vectors)
        pairs.append((closest * values.unsqueeze(1), vectors * values.unsqueeze(1)))
    losses = [
        (_kernel(pairs[i][0], pairs[i - 1][0]) - _kernel(pairs[i][1], pairs[i - 1][1])).square().sum()
        for i in range(1, len(pairs))
    ]
    return torch.stack(losses).sum() / student[0].shape[0]


def _check_shapes(student: list[Tensor], teacher: list[Tensor], axis: int) -> None:
    if len(student) < 2:
        raise ValueError(f"Expected `student_features` to hold at least 2 layers, but got {len(student)}.")
    for ours, theirs in zip(student, teacher, strict=True):
        if (
            ours.dim() != 4
            or theirs.dim() != 4
            or ours.shape[0] != theirs.shape[0]
            or ours.shape[axis] != theirs.shape[axis]
        ):
            raise ValueError(
                f"Expected `student_features` and `teacher_features` to have maps [B, C, H, W] of the same B and "
                f"{'BCHW'[axis]}, but got {list(ours.shape)} and {list(theirs.shape)}. Join them with an adapter: conv."
            )


class KDSVDLoss(nn.Module):
    """Module form of :func:`kdsvd_loss`."""

    def __init__(self, k: int = 1, variant: KDSVDVariant = "channels") -> None:
        super().__init__()
        check_choice("variant", variant, VARIANTS)
        check_positive("k", k)
        self.k = k
        self.variant: KDSVDVariant = variant

    def forward(self, student_features: Features, teacher_features: Features) -> Tensor:
        return kdsvd_loss(student_features, teacher_features, self.k, self.variant)

    def extra_repr(self) -> str:
        return f"k={self.k}, variant={self.variant!r}"
