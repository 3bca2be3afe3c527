"""DIST+ (Huang et al., 2025, TPAMI): DIST with two correlations of feature maps."""

from __future__ import annotations

from torch import Tensor, nn

from lightning_distill.checks import check_choice, check_positive, check_same_shape
from lightning_distill.losses.logits import lift_pair
from lightning_distill.losses.pearson import VARIANTS, DISTVariant, dist_loss, pearson


def dist_plus_loss(
    student_features: Tensor,
    teacher_features: Tensor,
    student_logits: Tensor,
    teacher_logits: Tensor,
    beta: float = 1.0,
    gamma: float = 1.0,
    iota: float = 1.0,
    kappa: float = 1.0,
    temperature: float = 1.0,
    variant: DISTVariant = "paper",
) -> Tensor:
    """:func:`dist_loss` + ``iota`` * (1 - channel correlation) + ``kappa`` * (1 - spatial correlation).

    The channel part correlates the channels at each position, averaged over samples and positions; the spatial part
    the channel means of each position over the batch, averaged over positions. Zero at agreement (up to 1e-8).
    torchdistill adds the channel correlation with the opposite sign, which drives the channels apart.

    Args:
        student_features: ``[B, C, H, W]``; receives a gradient.
        teacher_features: Same shape.
        student_logits: ``[B, K]``; receives a gradient.
        teacher_logits: Same shape.
        beta: Coefficient of DIST's relation between classes.
        gamma: Coefficient of DIST's relation within a class.
        iota: Coefficient of the channel part.
        kappa: Coefficient of the spatial part.
        temperature: Above 0; of the logits.
        variant: See :func:`pearson`.

    Returns:
        Scalar, in the inputs' precision but never below float32.

    Raises:
        ValueError: If shapes differ, ``temperature`` is not above 0 or ``variant`` is unknown.

    Example:
        >>> import torch
        >>> features = torch.arange(8.0).reshape(2, 2, 2, 1)
        >>> dist_plus_loss(features, -features, torch.eye(2), torch.eye(2))
        tensor(4.)
    """
    check_same_shape(student_features=student_features, teacher_features=teacher_features)
    logits_part = dist_loss(student_logits, teacher_logits, beta, gamma, temperature, variant)
    student, teacher = lift_pair(student_features, teacher_features)
    student, teacher = student.flatten(2), teacher.flatten(2)
    channel = 1 - pearson(student, teacher, dim=1, variant=variant).mean()
    spatial = 1 - pearson(student.mean(dim=1), teacher.mean(dim=1), dim=0, variant=variant).mean()
    return logits_part + iota * channel + kappa * spatial


class DISTPlusLoss(nn.Module):
    """Module form of :func:`dist_plus_loss`: a term on a pair of feature maps that also reads the logits.

    Example:
        >>> import torch
        >>> features = torch.arange(8.0).reshape(2, 2, 2, 1)
        >>> DISTPlusLoss()(features, -features, student_logits=torch.eye(2), teacher_logits=torch.eye(2))
        tensor(4.)
    """

    def __init__(
        self,
        beta: float = 1.0,
        gamma: float = 1.0,
        iota: float = 1.0,
        kappa: float = 1.0,
        temperature: float = 1.0,
        variant: DISTVariant = "paper",
    ) -> None:
        super().__init__()
        check_positive("temperature", temperature)
        check_choice("variant", variant, VARIANTS)
        self.beta = beta
        self.gamma = gamma
        self.iota = iota
        self.kappa = kappa
        self.temperature = temperature
        self.variant: DISTVariant = variant

    def forward(
        self, student_features: Tensor, teacher_features: Tensor, *, student_logits: Tensor, teacher_logits: Tensor
    ) -> Tensor:
        return dist_plus_loss(
            student_features,
            teacher_features,
            student_logits,
            teacher_logits,
            self.beta,
            self.gamma,
            self.iota,
            self.kappa,
            self.temperature,
            self.variant,
        )

    def extra_repr(self) -> str:
        return (
            f"beta={self.beta}, gamma={self.gamma}, iota={self.iota}, kappa={self.kappa}, "
            f"temperature={self.temperature}, variant={self.variant!r}"
        )
