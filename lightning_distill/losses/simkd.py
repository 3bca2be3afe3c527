"""Reusing the teacher's classifier, SimKD (Chen et al., 2022, https://arxiv.org/abs/2203.14001)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_distill.checks import at_least_fp32
from lightning_distill.losses.trained import FrozenHead, MapNorm, lift_features, to_input


def simkd_loss(student_features: Tensor, teacher_features: Tensor) -> Tensor:
    """Squared difference of the projected features and the teacher's: a mean over elements. Zero at agreement.

    The larger maps are averaged to the size of the smaller ones.

    Args:
        student_features: ``[B, C]`` or ``[B, C, H, W]``; all that receives a gradient.
        teacher_features: The same, of any H and W.

    Returns:
        Scalar, in the inputs' precision but never below float32.

    Raises:
        ValueError: If batch or channels differ.

    Example:
        >>> import torch
        >>> simkd_loss(torch.ones(2, 3, 2, 2), torch.zeros(2, 3, 4, 4))
        tensor(1.)
    """
    student, teacher = match_sizes(student_features, teacher_features)
    return F.mse_loss(*lift_features(student, teacher))


def match_sizes(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Two features; maps are averaged to the smaller height and the smaller width of the two.

    Example:
        >>> import torch
        >>> first, second = match_sizes(torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 2, 6))
        >>> first.shape, second.shape
        (torch.Size([1, 2, 2, 4]), torch.Size([1, 3, 2, 4]))
    """
    if first.dim() != 4 or second.dim() != 4 or first.shape[2:] == second.shape[2:]:
        return first, second
    # Averages in half precision would round what is compared.
    first, second = at_least_fp32(first), at_least_fp32(second)
    height = min(first.shape[2], second.shape[2])
    width = min(first.shape[3], second.shape[3])
    return F.adaptive_avg_pool2d(first, (height, width)), F.adaptive_avg_pool2d(second, (height, width))


class SimKDProjector(nn.Sequential):
    """1 x 1, 3 x 3 and 1 x 1 convolutions, each with BatchNorm and ReLU, from the student's to the teacher's channels.

    Args:
        student_channels: Channels that come in.
        teacher_channels: Channels that go out.
        factor: The middle has ``teacher_channels // factor`` channels.

    Example:
        >>> import torch
        >>> SimKDProjector(6, 8)(torch.zeros(2, 6, 5, 4)).shape
        torch.Size([2, 8, 5, 4])
    """

    def __init__(self, student_channels: int, teacher_channels: int, factor: int = 2) -> None:
        middle = max(1, teacher_channels // factor)
        super().__init__(
            nn.Conv2d(student_channels, middle, 1, bias=False),
            MapNorm(middle),
            nn.ReLU(),
            nn.Conv2d(middle, middle, 3, padding=1, bias=False),
            MapNorm(middle),
            nn.ReLU(),
            nn.Conv2d(middle, teacher_channels, 1, bias=False),
            MapNorm(teacher_channels),
            nn.ReLU(),
        )


class SimKDLoss(nn.Module):
    """:func:`simkd_loss` of the projected features; predictions come from the teacher's classifier on them.

    The student's own classifier is not trained by it: what is deployed is the backbone, ``projector`` and
    ``teacher_head`` (see :meth:`predict`). The published recipe uses no other loss.

    Args:
        student_channels: Channels of the student's last maps ``[B, C, H, W]``, or the width of its embedding.
        teacher_channels: The teacher's.
        teacher_head: The teacher's classifier. It is frozen and stays in eval mode: give a copy if the original is
            to be trained.
        factor: See :class:`SimKDProjector`.

    Raises:
        ValueError: If the features do not fit these channels, in the call.

    Example:
        >>> import torch
        >>> loss = SimKDLoss(6, 8, nn.Linear(8, 10))
        >>> loss.predict(torch.zeros(2, 6, 5, 4)).shape
        torch.Size([2, 10])
    """

    def __init__(self, student_channels: int, teacher_channels: int, teacher_head: nn.Module, factor: int = 2) -> None:
        super().__init__()
        self.student_channels = student_channels
        self.projector = SimKDProjector(student_channels, teacher_channels, factor)
        self.teacher_head = FrozenHead(teacher_head)

    def forward(self, student_features: Tensor, teacher_features: Tensor) -> Tensor:
        teacher = teacher_features.detach()
        student, teacher = match_sizes(student_features, teacher)
        return simkd_loss(self.project(student), teacher[:, :, None, None] if teacher.dim() == 2 else teacher)

    def project(self, student_features: Tensor) -> Tensor:
        """The student's features with the teacher's channels: ``[B, C, H, W]``."""
        maps = to_input("student_features", student_features, self.student_channels, self.projector)
        projected: Tensor = self.projector(maps)
        return projected

    def predict(self, student_features: Tensor) -> Tensor:
        """Logits ``[B, C]`` of the teacher's classifier on the projected features."""
        logits: Tensor = self.teacher_head(self.project(student_features))
        return logits
