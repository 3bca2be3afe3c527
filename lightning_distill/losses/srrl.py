"""Softmax regression representation learning, SRRL (Yang et al., ICLR 2021, https://openreview.net/forum?id=ZzwDy_wiWv)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_distill.checks import at_least_fp32
from lightning_distill.losses.trained import FrozenHead, MapNorm, lift_features, to_input


def srrl_loss(
    student_features: Tensor,
    teacher_features: Tensor,
    student_logits: Tensor,
    teacher_logits: Tensor,
    beta: float = 1.0,
) -> Tensor:
    """Squared difference of the embeddings plus ``beta`` times that of the teacher's classifier on them.

    Both are means over elements. Maps are averaged over their positions first. Zero at agreement.

    Args:
        student_features: ``[B, D]`` or ``[B, D, H, W]``, brought to the teacher's width; receives a gradient.
        teacher_features: ``[B, D]`` or ``[B, D, H, W]``; positions may differ in number.
        student_logits: ``[B, C]``, the teacher's classifier on the student's features; receives a gradient.
        teacher_logits: Same shape.
        beta: Coefficient of the logits.

    Returns:
        Scalar, in the inputs' precision but never below float32.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> import torch
        >>> srrl_loss(torch.ones(2, 3), torch.zeros(2, 3), torch.ones(2, 4), torch.zeros(2, 4), beta=5.0)
        tensor(6.)
    """
    student, teacher = lift_features(_average(student_features), _average(teacher_features))
    student_logits, teacher_logits = lift_features(student_logits, teacher_logits)
    return F.mse_loss(student, teacher) + beta * F.mse_loss(student_logits, teacher_logits)


def _average(features: Tensor) -> Tensor:
    return at_least_fp32(features).mean(dim=(2, 3)) if features.dim() == 4 else features


class SRRLLoss(nn.Module):
    """:func:`srrl_loss` with a trained connector (1 x 1 convolution, BatchNorm, ReLU) and the teacher's classifier.

    What is compared is what the classifier reads: maps ``[B, C, H, W]`` averaged over their positions, or flattened
    if its first linear layer reads that many numbers.

    Args:
        student_channels: Width of the student's embedding, or channels of its last maps.
        teacher_channels: The teacher's.
        teacher_head: The teacher's classifier. It is frozen and stays in eval mode: give a copy if the original is
            to be trained.
        beta: Coefficient of the logits: 1 on ImageNet, 5 on CIFAR.

    Raises:
        ValueError: If the features do not fit these channels or the classifier, in the call.

    Example:
        >>> import torch
        >>> loss = SRRLLoss(3, 4, nn.Linear(4, 10))
        >>> loss(torch.ones(2, 3), torch.ones(2, 4)).shape
        torch.Size([])
    """

    def __init__(
        self, student_channels: int, teacher_channels: int, teacher_head: nn.Module, beta: float = 1.0
    ) -> None:
        super().__init__()
        self.student_channels = student_channels
        self.beta = beta
        self.connector = nn.Sequential(
            nn.Conv2d(student_channels, teacher_channels, 1, bias=False), MapNorm(teacher_channels), nn.ReLU()
        )
        self.teacher_head = FrozenHead(teacher_head)

    def forward(self, student_features: Tensor, teacher_features: Tensor) -> Tensor:
        student = self.connect(student_features)
        teacher = self.teacher_head.embed(teacher_features.detach())
        return srrl_loss(student, teacher, self.teacher_head(student), self.teacher_head(teacher), self.beta)

    def connect(self, student_features: Tensor) -> Tensor:
        """The student's features as the teacher's classifier reads them: ``[B, D]``."""
        maps = to_input("student_features", student_features, self.student_channels, self.connector)
        return self.teacher_head.embed(self.connector(maps))

    def extra_repr(self) -> str:
        return f"beta={self.beta}"
