"""Flow of solution procedure, FSP (Yim et al., CVPR 2017): how one layer's features turn into the next one's."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_distill.checks import at_least_fp32, check_choice
from lightning_distill.losses.precision import full_precision
from lightning_distill.losses.trained import Features, as_list, check_layers

FSPVariant = Literal["mean", "torchdistill"]
VARIANTS = ("mean", "torchdistill")


def fsp_matrix(first: Tensor, second: Tensor, largest: bool = False) -> Tensor:
    """Inner products of two layers' channels over all positions, divided by their number: ``[B, C1, C2]``.

    The larger maps are pooled to the size of the smaller ones: averaged, or with ``largest`` their maximum.

    Example:
        >>> fsp_matrix(torch.ones(1, 2, 4, 4), torch.full((1, 1, 2, 2), 3.0))
        tensor([[[3.],
                 [3.]]])
    """
    first, second = at_least_fp32(first), at_least_fp32(second)
    size = (min(first.shape[2], second.shape[2]), min(first.shape[3], second.shape[3]))
    pool = F.adaptive_max_pool2d if largest else F.adaptive_avg_pool2d
    first, second = (maps if tuple(maps.shape[2:]) == size else pool(maps, size) for maps in (first, second))
    with full_precision(first):
        return first.flatten(2) @ second.flatten(2).mT / (size[0] * size[1])


def fsp_loss(student_features: Features, teacher_features: Features, variant: FSPVariant = "mean") -> Tensor:
    """Distance of the flow matrices of each layer and the next, summed over these pairs of layers.

    Zero where all matrices agree.

    Args:
        student_features: At least two layers ``[B, C, H, W]``, from the first to the deepest; all that receives a
            gradient.
        teacher_features: As many, each with the channels of the student's. Heights and widths may differ.
        variant: ``"mean"``: squared difference, a mean over elements, with the larger maps averaged (RepDistiller,
            mdistiller). ``"torchdistill"``: norms of the difference's columns, summed, a mean over samples, with the
            larger maps' maximum.

    Returns:
        Scalar, in the inputs' precision but never below float32.

    Raises:
        ValueError: If there are fewer than two layers, or batches or channels differ.

    Example:
        >>> maps = [torch.ones(1, 2, 4, 4), torch.ones(1, 3, 2, 2)]
        >>> fsp_loss([2 * m for m in maps], maps)
        tensor(9.)
    """
    check_choice("variant", variant, VARIANTS)
    student, teacher = as_list(student_features), [t.detach() for t in as_list(teacher_features)]
    check_layers("teacher_features", teacher, len(student))
    if len(student) < 2:
        raise ValueError(f"Expected `student_features` to hold at least 2 layers, but got {len(student)}.")
    for one, other in zip(student, teacher, strict=True):
        if one.dim() != 4 or other.dim() != 4 or one.shape[:2] != other.shape[:2]:
            raise ValueError(
                "Expected `student_features` and `teacher_features` to have maps [B, C, H, W] of the same B and C, "
                f"but got {list(one.shape)} and {list(other.shape)}. Join the channels with an adapter: conv."
            )
    largest = variant == "torchdistill"
    losses = []
    for i in range(len(student) - 1):
        ours = fsp_matrix(student[i], student[i + 1], largest)
        difference = ours - fsp_matrix(teacher[i], teacher[i + 1], largest).to(ours.dtype)
        losses.append(_columns(difference) if largest else difference.square().mean())
    return torch.stack(losses).sum()


def _columns(difference: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(difference, dim=1)
    return norms.sum() / difference.shape[0]


class FSPLoss(nn.Module):
    """Module form of :func:`fsp_loss`. The paper uses it before the training on labels, as an initialisation."""

    def __init__(self, variant: FSPVariant = "mean") -> None:
        super().__init__()
        check_choice("variant", variant, VARIANTS)
        self.variant: FSPVariant = variant

    def forward(self, student_features: Features, teacher_features: Features) -> Tensor:
        return fsp_loss(student_features, teacher_features, self.variant)

    def extra_repr(self) -> str:
        return f"variant={self.variant!r}"
