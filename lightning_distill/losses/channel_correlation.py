"""Inter-channel correlations, ICKD (Liu et al., ICCV 2021)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from lightning_distill.checks import at_least_fp32, check_choice
from lightning_distill.losses.embeddings import gram, unit_rows
from lightning_distill.losses.trained import lift_features

ICKDVariant = Literal["mean", "torchdistill"]
VARIANTS = ("mean", "torchdistill")


def ickd_loss(student_features: Tensor, teacher_features: Tensor, variant: ICKDVariant = "mean") -> Tensor:
    """Squared difference of the channels' Gram matrices, each row a unit vector. Zero where these agree.

    Args:
        student_features: ``[B, C, H, W]``; the only input that receives a gradient.
        teacher_features: Same batch and channels, of any H and W; an adapter joins other channels.
        variant: ``"mean"`` over samples and pairs of channels; ``"torchdistill"``: the sum over
            ``channels * batch ** 2``.

    Returns:
        Scalar, in the inputs' precision but never below float32.

    Raises:
        ValueError: If the features are no maps, or batch or channels differ.

    Example:
        >>> import torch
        >>> student, teacher = torch.eye(2).reshape(1, 2, 2, 1), torch.ones(1, 2, 2, 1)
        >>> ickd_loss(student, teacher).round(decimals=4)
        tensor(0.2929)
    """
    check_choice("variant", variant, VARIANTS)
    for name, maps in (("student_features", student_features), ("teacher_features", teacher_features)):
        if maps.dim() < 3:
            raise ValueError(f"Expected `{name}` to have the shape [B, C, H, W], but got {list(maps.shape)}.")
    # Only the relations of the channels are compared: positions may differ.
    student, teacher = lift_features(_relations(student_features), _relations(teacher_features.detach()))
    total = (student - teacher).square().sum()
    batch, channels = student.shape[:2]
    return total / (batch * channels * (batch if variant == "torchdistill" else channels))


def _relations(maps: Tensor) -> Tensor:
    return unit_rows(gram(at_least_fp32(maps).flatten(2)))


class ICKDLoss(nn.Module):
    """Module form of :func:`ickd_loss`."""

    def __init__(self, variant: ICKDVariant = "mean") -> None:
        super().__init__()
        check_choice("variant", variant, VARIANTS)
        self.variant: ICKDVariant = variant

    def forward(self, student_features: Tensor, teacher_features: Tensor) -> Tensor:
        return ickd_loss(student_features, teacher_features, self.variant)

    def extra_repr(self) -> str:
        return f"variant={self.variant!r}"
