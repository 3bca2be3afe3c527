"""Overhaul of feature distillation, OFD (Heo et al., 2019, https://arxiv.org/abs/1904.01866)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from lightning_distill.checks import at_least_fp32, check_choice
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

Reduction = Literal["mean", "sum"]
REDUCTIONS: tuple[Reduction, ...] = ("mean", "sum")
# At this share of negative values and below, the published margin is three standard deviations below 0.
RARE = 1e-3


def ofd_loss(
    student_features: Tensor, teacher_features: Tensor, margin: Tensor | None = None, reduction: Reduction = "mean"
) -> Tensor:
    """Partial squared difference before the ReLU: where the teacher is negative, the student need only be below it.

    The teacher is raised to ``margin`` first; a student below it where the teacher is not positive costs nothing.
    Zero at agreement.

    Args:
        student_features: ``[B, C, ...]`` before the ReLU; all that receives a gradient.
        teacher_features: Same shape.
        margin: ``[C]``, at most 0; ``None`` for none, which takes the teacher as it is.
        reduction: ``"mean"`` over all elements; ``"sum"`` over all but a mean over samples, as published.

    Returns:
        Scalar, in the inputs' precision but never below float32.

    Raises:
        ValueError: If the shapes differ or ``reduction`` is unknown.

    Example:
        >>> ofd_loss(torch.tensor([[2.0, -5.0, 1.0]]), torch.tensor([[1.0, -1.0, -1.0]]), torch.zeros(3), "sum")
        tensor(2.)
    """
    check_choice("reduction", reduction, REDUCTIONS)
    student, teacher = lift_features(student_features, teacher_features)
    target = teacher
    if margin is not None:
        target = teacher.maximum(margin.detach().to(teacher).reshape(-1, *[1] * (teacher.dim() - 2)))
    # As a factor on the difference and not on its square: what is left out has no gradient at all.
    counts = (student > target) | (teacher > 0)
    squares = (student - target).mul(counts).square()
    return squares.mean() if reduction == "mean" else squares.sum() / student.shape[0]


def ofd_margin(weight: Tensor, bias: Tensor) -> Tensor:
    """The mean of the negative part of a normal distribution per channel, as a BatchNorm gives it out.

    Args:
        weight: ``[C]``: the standard deviations, of any sign.
        bias: ``[C]``: the means.

    Returns:
        ``[C]``, below 0: ``E[x | x < 0]``, or minus three standard deviations where less than one value in a thousand
        is negative; ``min(bias, 0)`` for a channel of constant value.

    Example:
        >>> ofd_margin(torch.tensor([1.0, -1.0, 0.0]), torch.tensor([0.0, 9.0, -2.0]))
        tensor([-0.7979, -3.0000, -2.0000])
    """
    deviation, mean = at_least_fp32(weight.detach()).abs(), at_least_fp32(bias.detach())
    divisor = torch.where(deviation > 0, deviation, 1.0)
    ratio = mean / divisor
    log_share = torch.special.log_ndtr(-ratio)
    # Density over probability in log space: both vanish far out.
    slope = torch.exp(-ratio.square() / 2 - math.log(math.sqrt(2 * math.pi)) - log_share)
    margin = torch.where(log_share > math.log(RARE), mean - deviation * slope, -3 * deviation)
    return torch.where(deviation > 0, margin, mean.clamp_max(0.0))


def negative_mean(features: Tensor) -> Tensor:
    """The mean of the negative values per channel, ``[C]``; 0 for a channel without any.

    Example:
        >>> negative_mean(torch.tensor([[1.0, -1.0], [2.0, -3.0]]))
        tensor([ 0., -2.])
    """
    values = at_least_fp32(features.detach()).transpose(0, 1).flatten(1)
    count = (values < 0).sum(dim=1).clamp_min(1)
    return values.clamp_max(0.0).sum(dim=1) / count


class OFDLoss(nn.Module):
    """:func:`ofd_loss` of each layer behind a trained connector (1 x 1 convolution, BatchNorm), added up.

    Layers are the outputs of BatchNorm layers before their ReLU. The deepest counts 1, the one before it 1/2, and so
    on.

    Args:
        student_channels: Channels of the student's layers, from the first to the deepest.
        teacher_channels: Channels of the teacher's, of the same heights and widths.
        margins: For each layer ``[C]`` from :func:`ofd_margin`; ``None`` for the mean of the teacher's negative values
            in the batch.
        reduction: See :func:`ofd_loss`. Published weights (1e-3 on CIFAR, 1e-4 on ImageNet) are for ``"sum"``.

    Raises:
        ValueError: If the numbers of layers differ; in the call, if the features do not fit these channels.

    Example:
        >>> loss = OFDLoss([3, 4], [4, 6])
        >>> maps = [torch.ones(2, 3, 5, 5), torch.ones(2, 4, 3, 3)]
        >>> loss(maps, [torch.zeros(2, 4, 5, 5), torch.zeros(2, 6, 3, 3)]).shape
        torch.Size([])
    """

    def __init__(
        self,
        student_channels: Channels,
        teacher_channels: Channels,
        margins: Sequence[Tensor] | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check_choice("reduction", reduction, REDUCTIONS)
        self.student_channels, self.teacher_channels = list_channels(student_channels, teacher_channels)
        self.reduction: Reduction = reduction
        self.connectors = nn.ModuleList(
            nn.Sequential(nn.Conv2d(s, t, 1, bias=False), MapNorm(t))
            for s, t in zip(self.student_channels, self.teacher_channels, strict=True)
        )
        self._register_margins(margins)

    def _register_margins(self, margins: Sequence[Tensor] | None) -> None:
        self.fixed_margins = margins is not None
        if margins is None:
            return
        sizes = [margin.numel() for margin in margins]
        if sizes != self.teacher_channels:
            raise ValueError(
                f"Expected `margins` to hold {self.teacher_channels} numbers, one for each of the teacher's channels, "
                f"but got {sizes}."
            )
        for i, margin in enumerate(margins):
            self.register_buffer(f"margin_{i}", margin.detach().clone().flatten())

    def forward(self, student_features: Features, teacher_features: Features) -> Tensor:
        student = as_list(student_features)
        check_layers("student_features", student, len(self.connectors))
        connected = [
            connector(to_input("student_features", feature, channels, connector))
            for connector, feature, channels in zip(self.connectors, student, self.student_channels, strict=True)
        ]
        losses = []
        for i, (ours, theirs) in enumerate(pair_features(connected, teacher_features)):
            target = theirs if theirs.dim() == 4 else theirs[:, :, None, None]
            margin = self.get_buffer(f"margin_{i}") if self.fixed_margins else negative_mean(target)
            losses.append(ofd_loss(ours, target, margin, self.reduction) / 2 ** (len(connected) - 1 - i))
        return torch.stack(losses).sum()

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}"
