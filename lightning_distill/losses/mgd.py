"""Masked generative distillation, MGD (Yang et al., 2022, https://arxiv.org/abs/2205.01529)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_distill.checks import check_choice, check_fraction
from lightning_distill.losses.trained import lift_features, to_input

Reduction = Literal["mean", "sum"]
REDUCTIONS: tuple[Reduction, ...] = ("mean", "sum")
MaskShape = Literal["spatial", "channel"]
MASK_SHAPES: tuple[MaskShape, ...] = ("spatial", "channel")


def mgd_loss(student_features: Tensor, teacher_features: Tensor, reduction: Reduction = "mean") -> Tensor:
    """Squared difference of the generated maps and the teacher's. Zero at agreement.

    Args:
        student_features: ``[B, C, H, W]`` as generated from the masked maps; all that receives a gradient.
        teacher_features: Same shape.
        reduction: ``"mean"`` over all elements; ``"sum"`` over all but a mean over samples, as published.

    Returns:
        Scalar, in the inputs' precision but never below float32.

    Raises:
        ValueError: If the shapes differ or ``reduction`` is unknown.

    Example:
        >>> mgd_loss(torch.ones(2, 3, 1, 2), torch.zeros(2, 3, 1, 2), reduction="sum")
        tensor(6.)
    """
    check_choice("reduction", reduction, REDUCTIONS)
    student, teacher = lift_features(student_features, teacher_features)
    loss = F.mse_loss(student, teacher, reduction=reduction)
    return loss / student.shape[0] if reduction == "sum" else loss


def draw_keep(maps: Tensor, masked: float, mask: MaskShape) -> Tensor:
    """1 where ``maps`` are kept and 0 where they are hidden, drawn anew: ``[B, 1, H, W]`` or ``[B, C, 1, 1]``.

    Example:
        >>> draw_keep(torch.zeros(2, 3, 4, 5), 0.0, "spatial").mean(dim=(2, 3)).tolist()
        [[1.0], [1.0]]
    """
    batch, channels, height, width = maps.shape
    shape = (batch, 1, height, width) if mask == "spatial" else (batch, channels, 1, 1)
    return (torch.rand(shape, device=maps.device) >= masked).to(maps.dtype)


class MGDLoss(nn.Module):
    """The student's maps, partly hidden at random, must suffice to generate the teacher's: see :func:`mgd_loss`.

    Args:
        student_channels: Channels of the student's layer; where they differ from the teacher's, a 1 x 1 convolution
            aligns them.
        teacher_channels: Channels of the teacher's.
        masked: Share of what is hidden, in [0, 1]: 0.65 for detection (``"spatial"``), 0.15 for classification
            (``"channel"``).
        mask: What is hidden as a whole: positions (``"spatial"``) or channels (``"channel"``).
        reduction: See :func:`mgd_loss`. Published weights (2e-5 for detection, 7e-5 for classification) are for
            ``"sum"``; for ``"mean"`` they are C * H * W times larger.

    Raises:
        ValueError: If an argument is out of range; in the call, if the shapes do not fit.

    Example:
        >>> loss = MGDLoss(2, 4)
        >>> loss(torch.ones(3, 2, 5, 6), torch.ones(3, 4, 5, 6)).shape
        torch.Size([])
    """

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        masked: float = 0.65,
        mask: MaskShape = "spatial",
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check_fraction("masked", masked)
        check_choice("mask", mask, MASK_SHAPES)
        check_choice("reduction", reduction, REDUCTIONS)
        self.student_channels = student_channels
        self.masked = masked
        self.mask: MaskShape = mask
        self.reduction: Reduction = reduction
        same = student_channels == teacher_channels
        self.align = nn.Identity() if same else nn.Conv2d(student_channels, teacher_channels, 1)
        self.generation = nn.Sequential(
            nn.Conv2d(teacher_channels, teacher_channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(teacher_channels, teacher_channels, 3, padding=1),
        )

    def forward(self, student_features: Tensor, teacher_features: Tensor, *, keep: Tensor | None = None) -> Tensor:
        """The loss.

        Args:
            student_features: ``[B, C, H, W]``.
            teacher_features: ``[B, C', H, W]``.
            keep: What to keep (1) and to hide (0), in a shape that broadcasts to ``[B, C', H, W]``; drawn if ``None``.
        """
        maps = self.align(to_input("student_features", student_features, self.student_channels, self.generation))
        keep = draw_keep(maps, self.masked, self.mask) if keep is None else keep.to(maps.dtype)
        return mgd_loss(self.generation(maps * keep), teacher_features, self.reduction)

    def extra_repr(self) -> str:
        return f"masked={self.masked}, mask={self.mask!r}, reduction={self.reduction!r}"
