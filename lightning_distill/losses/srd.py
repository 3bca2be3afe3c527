"""Regression of projected features by a log-power distance, SRD (Miles et al., 2023, https://arxiv.org/abs/2303.11098)."""

from __future__ import annotations

from torch import Tensor, nn

from lightning_distill.checks import check_positive
from lightning_distill.losses.pad import average
from lightning_distill.losses.trained import MapNorm, lift_features, to_input

# Distances are counted in units of the largest one, but not in smaller ones than this: at agreement there is none.
LEAST = 0.1
# Added to the sum, which is at least 1 away from agreement: the logarithm of 0 has no gradient.
EPS = 1e-9


def srd_loss(student_features: Tensor, teacher_features: Tensor, exponent: float = 4.0) -> Tensor:
    """Logarithm of the sum over all elements of ``|student - teacher| ** exponent``.

    The logarithm evens out gradients of batches far and near. It has no lower end of 0: at agreement it is about -30.

    Args:
        student_features: ``[B, D]``; all that receives a gradient.
        teacher_features: Same shape.
        exponent: Above 0; what is far off counts more, the larger it is.

    Returns:
        Scalar, in the inputs' precision but never below float32.

    Raises:
        ValueError: If the shapes differ or ``exponent`` is not above 0.

    Example:
        >>> import torch
        >>> srd_loss(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 0.0]]), exponent=2.0)
        tensor(2.1972)
    """
    check_positive("exponent", exponent)
    student, teacher = lift_features(student_features, teacher_features)
    distance = (student - teacher).abs()
    unit = distance.detach().amax().clamp_min(LEAST)
    return ((distance / unit).pow(exponent).sum() + EPS).log() + exponent * unit.log()


class SRDLoss(nn.Module):
    """:func:`srd_loss` of the projected student's and the teacher's embeddings, both normalised over the batch.

    Maps are averaged over their positions first. The published recipe counts it twice and adds
    :class:`~lightning_distill.losses.soft_target.KLDistillationLoss` at temperature 1.

    Args:
        student_channels: Width of the student's embedding, or channels of its maps.
        teacher_channels: The teacher's.
        exponent: See :func:`srd_loss`.

    Raises:
        ValueError: If ``exponent`` is not above 0; in the call, if the features do not fit these channels.

    Example:
        >>> import torch
        >>> SRDLoss(3, 4)(torch.ones(2, 3), torch.ones(2, 4)).shape
        torch.Size([])
    """

    def __init__(self, student_channels: int, teacher_channels: int, exponent: float = 4.0) -> None:
        super().__init__()
        check_positive("exponent", exponent)
        self.student_channels = student_channels
        self.teacher_channels = teacher_channels
        self.exponent = exponent
        self.projector = nn.Conv2d(student_channels, teacher_channels, 1)
        self.student_norm = MapNorm(teacher_channels, affine=False)
        self.teacher_norm = MapNorm(teacher_channels, affine=False)

    def forward(self, student_features: Tensor, teacher_features: Tensor) -> Tensor:
        student = to_input("student_features", average(student_features), self.student_channels, self.projector)
        teacher = average(teacher_features.detach())
        teacher = to_input("teacher_features", teacher, self.teacher_channels, self.projector)
        projected = self.student_norm(self.projector(student)).flatten(1)
        return srd_loss(projected, self.teacher_norm(teacher).flatten(1), self.exponent)

    def extra_repr(self) -> str:
        return f"exponent={self.exponent}"
