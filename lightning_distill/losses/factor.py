"""Factor transfer, FT (Kim et al., 2018, https://arxiv.org/abs/1802.04977)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_distill.checks import at_least_fp32, check_choice, check_positive, check_same_shape
from lightning_distill.losses.logits import unit_direction
from lightning_distill.losses.simkd import match_sizes
from lightning_distill.losses.trained import MapNorm, lift_features, to_input

FTVariant = Literal["paper", "euclidean", "attention"]
VARIANTS: tuple[FTVariant, ...] = ("paper", "euclidean", "attention")
SLOPE = 0.1


def ft_loss(student_factor: Tensor, teacher_factor: Tensor, variant: FTVariant = "paper") -> Tensor:
    """Difference of two factors, each divided by its norm per sample. Zero at agreement.

    A sample of zeros stays zero. Maps of different sizes are averaged to the smaller one.

    Args:
        student_factor: ``[B, C, H, W]``; all that receives a gradient.
        teacher_factor: The same, of any H and W.
        variant: ``"paper"`` is the mean absolute difference over elements; ``"euclidean"`` the norm of the difference,
            a mean over samples (torchdistill, p = 2); ``"attention"`` the mean absolute difference of the normalised
            averages over channels of the squares (RepDistiller).

    Returns:
        Scalar, in the inputs' precision but never below float32.

    Raises:
        ValueError: If batch or channels differ or ``variant`` is unknown.

    Example:
        >>> ft_loss(torch.tensor([[3.0, 4.0]]), torch.tensor([[4.0, 3.0]]))
        tensor(0.2000)
    """
    check_choice("variant", variant, VARIANTS)
    # Of each factor one position: sizes are joined below, the rest must be equal.
    check_same_shape(student_features=student_factor[..., :1, :1], teacher_features=teacher_factor[..., :1, :1])
    student, teacher = lift_features(*match_sizes(student_factor, teacher_factor))
    if variant == "attention":
        student, teacher = student.square().mean(dim=1), teacher.square().mean(dim=1)
    difference = unit_direction(student.flatten(1)) - unit_direction(teacher.flatten(1))
    if variant == "euclidean":
        lengths: Tensor = torch.linalg.vector_norm(difference, dim=1)
        return lengths.mean()
    return difference.abs().mean()


class Paraphraser(nn.Module):
    """An autoencoder of the teacher's maps; its code of fewer channels is the factor.

    Three 3 x 3 convolutions to the factor and three transposed ones back, with leaky ReLUs. Train it on the teacher's
    maps with :meth:`reconstruction_loss`, or leave that to :class:`FTLoss`.

    Args:
        channels: Channels of the teacher's maps.
        rate: The factor has ``int(channels * rate)`` channels, at least 1.

    Example:
        >>> Paraphraser(8)(torch.zeros(2, 8, 5, 4)).shape
        torch.Size([2, 4, 5, 4])
    """

    def __init__(self, channels: int, rate: float = 0.5) -> None:
        super().__init__()
        check_positive("rate", rate)
        self.channels = channels
        self.factor_channels = factor = max(1, int(channels * rate))
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(channels, factor, 3, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(factor, factor, 3, padding=1),
            nn.LeakyReLU(SLOPE),
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(factor, factor, 3, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.ConvTranspose2d(factor, channels, 3, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.ConvTranspose2d(channels, channels, 3, padding=1),
            nn.LeakyReLU(SLOPE),
        )

    def forward(self, teacher_features: Tensor) -> Tensor:
        """The factor ``[B, F, H, W]``."""
        factor: Tensor = self.encoder(to_input("teacher_features", teacher_features, self.channels, self.encoder))
        return factor

    def reconstruct(self, factor: Tensor) -> Tensor:
        """The teacher's maps as they follow from ``factor``."""
        maps: Tensor = self.decoder(factor)
        return maps

    def reconstruction_loss(self, teacher_features: Tensor) -> Tensor:
        """Mean squared error of the maps reconstructed from their factor."""
        maps = to_input("teacher_features", teacher_features.detach(), self.channels, self.encoder)
        return F.mse_loss(at_least_fp32(self.reconstruct(self.encoder(maps))), at_least_fp32(maps))


class Translator(nn.Sequential):
    """Three 3 x 3 convolutions with BatchNorm and leaky ReLU from the student's maps to a factor.

    Example:
        >>> Translator(6, 4)(torch.zeros(2, 6, 5, 4)).shape
        torch.Size([2, 4, 5, 4])
    """

    def __init__(self, channels: int, factor_channels: int) -> None:
        widths = ((channels, channels), (channels, factor_channels), (factor_channels, factor_channels))
        layers: list[nn.Module] = []
        for wide, narrow in widths:
            layers += [nn.Conv2d(wide, narrow, 3, padding=1), MapNorm(narrow), nn.LeakyReLU(SLOPE)]
        super().__init__(*layers)


class FTLoss(nn.Module):
    """:func:`ft_loss` of the translated student's maps and the paraphrased teacher's.

    Without a trained paraphraser one is trained along: its reconstruction error is added to the loss, and the transfer
    does not reach it. With one, it is frozen, as in the paper's second stage.

    Args:
        student_channels: Channels of the student's maps.
        teacher_channels: Channels of the teacher's.
        rate: Share of the teacher's channels that the factor has; without a trained paraphraser.
        variant: See :func:`ft_loss`.
        paraphraser: One trained beforehand. It is taken over: its parameters stop requiring gradients.

    Raises:
        ValueError: If the features do not fit these channels, in the call.

    Example:
        >>> loss = FTLoss(6, 8, paraphraser=Paraphraser(8))
        >>> loss(torch.ones(2, 6, 5, 4), torch.ones(2, 8, 5, 4)).shape
        torch.Size([])
    """

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        rate: float = 0.5,
        variant: FTVariant = "paper",
        paraphraser: Paraphraser | None = None,
    ) -> None:
        super().__init__()
        check_choice("variant", variant, VARIANTS)
        self.student_channels = student_channels
        self.variant: FTVariant = variant
        self.trains_paraphraser = paraphraser is None
        self.paraphraser = Paraphraser(teacher_channels, rate) if paraphraser is None else paraphraser
        self.paraphraser.requires_grad_(self.trains_paraphraser)
        self.translator = Translator(student_channels, self.paraphraser.factor_channels)

    def forward(self, student_features: Tensor, teacher_features: Tensor) -> Tensor:
        teacher = teacher_features.detach()
        maps = to_input("student_features", student_features, self.student_channels, self.translator)
        with torch.no_grad():
            factor = self.paraphraser(teacher)
        loss = ft_loss(self.translator(maps), factor, self.variant)
        return loss + self.paraphraser.reconstruction_loss(teacher) if self.trains_paraphraser else loss

    def extra_repr(self) -> str:
        return f"variant={self.variant!r}"
