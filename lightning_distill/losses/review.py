"""Knowledge review, ReviewKD (Chen et al., 2021, https://arxiv.org/abs/2104.09044)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_distill.losses.trained import (
    Channels,
    Features,
    MapNorm,
    as_list,
    check_layers,
    lift_features,
    list_channels,
    pair_features,
    to_input,
)

LEVELS = (4, 2, 1)


def hcl_loss(student_features: Features, teacher_features: Features, levels: Sequence[int] = LEVELS) -> Tensor:
    """Hierarchical context loss: mean squared error of the maps and of their averages over coarser and coarser grids.

    The full maps count 1, the next level 1/2, then 1/4, divided by the sum of these weights: a mean over elements.
    Several layers are added up. Zero at agreement.

    Args:
        student_features: ``[B, C, H, W]``, or one for each layer; all that receives a gradient.
        teacher_features: Same shapes.
        levels: Sides of the grids; one that is not below the smaller of H and W is left out.

    Returns:
        Scalar, in the inputs' precision but never below float32.

    Raises:
        ValueError: If the shapes differ or are not those of maps.

    Example:
        >>> hcl_loss(torch.ones(1, 2, 4, 4), torch.zeros(1, 2, 4, 4))
        tensor(1.)
    """
    pairs = pair_features(student_features, teacher_features)
    return torch.stack([_hcl_of_layer(s, t, levels) for s, t in pairs]).sum()


def _hcl_of_layer(student: Tensor, teacher: Tensor, levels: Sequence[int]) -> Tensor:
    student, teacher = lift_features(student, teacher)
    if student.dim() != 4:
        raise ValueError(f"Expected `student_features` to have the shape [B, C, H, W], but got {list(student.shape)}.")
    loss, weight, total = F.mse_loss(student, teacher), 1.0, 1.0
    for level in levels:
        if level < min(student.shape[2:]):
            weight /= 2
            total += weight
            coarse = F.adaptive_avg_pool2d(student, level), F.adaptive_avg_pool2d(teacher, level)
            loss = loss + weight * F.mse_loss(*coarse)
    return loss / total


class AttentionFusion(nn.Module):
    """Attention-based fusion (ABF) of a layer's maps with the result of the deeper layer.

    Args:
        in_channels: Channels of the layer's maps.
        mid_channels: Channels of the maps handed from layer to layer.
        out_channels: Channels of the teacher's maps.
        fuse: ``False`` for the deepest layer, which has no deeper one.

    Example:
        >>> target, handed = AttentionFusion(3, 4, 5, fuse=False)(torch.zeros(2, 3, 6, 6), None, (6, 6))
        >>> target.shape, handed.shape
        (torch.Size([2, 5, 6, 6]), torch.Size([2, 4, 6, 6]))
    """

    def __init__(self, in_channels: int, mid_channels: int, out_channels: int, fuse: bool = True) -> None:
        super().__init__()
        self.in_channels = in_channels
        narrow = nn.Conv2d(in_channels, mid_channels, 1, bias=False)
        widen = nn.Conv2d(mid_channels, out_channels, 3, padding=1, bias=False)
        for conv in (narrow, widen):
            nn.init.kaiming_uniform_(conv.weight, a=1)
        self.reduce = nn.Sequential(narrow, MapNorm(mid_channels))
        self.expand = nn.Sequential(widen, MapNorm(out_channels))
        self.attend = nn.Conv2d(2 * mid_channels, 2, 1) if fuse else None

    def forward(self, maps: Tensor, deeper: Tensor | None, size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The maps to compare with the teacher's of the given ``size``, and those to hand to the next layer."""
        maps = self.reduce(to_input("student_features", maps, self.in_channels, self.reduce))
        if self.attend is not None and deeper is not None:
            deeper = F.interpolate(deeper, maps.shape[2:], mode="nearest")
            gates = self.attend(torch.cat([maps, deeper], dim=1)).sigmoid()
            maps = maps * gates[:, :1] + deeper * gates[:, 1:]
        if list(maps.shape[2:]) != list(size):
            maps = F.interpolate(maps, list(size), mode="nearest")
        return self.expand(maps), maps


class ReviewKDLoss(nn.Module):
    """Each layer of the teacher is compared with the student's same layer and all deeper ones, fused from the back.

    :func:`hcl_loss` of the fused maps: a mean over elements and a sum over layers. The sizes of student and teacher
    may differ. A layer ``[B, C]`` counts as a map of one position.

    Args:
        student_channels: Channels of the student's layers, from the first to the deepest.
        teacher_channels: Channels of the teacher's.
        mid_channels: Channels of the fused maps; ``None`` for those of the student's deepest layer, 512 at most.
        levels: See :func:`hcl_loss`.

    Raises:
        ValueError: If the numbers of layers differ; in the call, if the features do not fit these channels.

    Example:
        >>> maps = [torch.zeros(2, 3, 8, 8), torch.zeros(2, 4, 4, 4)]
        >>> ReviewKDLoss([3, 4], [3, 4])(maps, maps).detach()
        tensor(0.)
    """

    def __init__(
        self,
        student_channels: Channels,
        teacher_channels: Channels,
        mid_channels: int | None = None,
        levels: Sequence[int] = LEVELS,
    ) -> None:
        super().__init__()
        student, teacher = list_channels(student_channels, teacher_channels)
        mid = mid_channels or min(512, student[-1])
        last = len(student) - 1
        self.levels = tuple(levels)
        self.fusions = nn.ModuleList(
            AttentionFusion(s, mid, t, fuse=i < last) for i, (s, t) in enumerate(zip(student, teacher, strict=True))
        )

    def forward(self, student_features: Features, teacher_features: Features) -> Tensor:
        student, teacher = as_list(student_features), [_as_maps(t) for t in as_list(teacher_features)]
        check_layers("student_features", student, len(self.fusions))
        check_layers("teacher_features", teacher, len(self.fusions))
        handed: Tensor | None = None
        fused: list[Tensor] = []
        layers: list[tuple[Any, Tensor, Tensor]] = list(zip(self.fusions, student, teacher, strict=True))
        for fusion, maps, target in reversed(layers):
            result, handed = fusion(maps, handed, target.shape[2:])
            fused.insert(0, result)
        return hcl_loss(fused, teacher, self.levels)

    def extra_repr(self) -> str:
        return f"levels={self.levels}"


def _as_maps(feature: Tensor) -> Tensor:
    return feature[:, :, None, None] if feature.dim() == 2 else feature
