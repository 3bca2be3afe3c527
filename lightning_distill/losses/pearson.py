"""DIST: correlation instead of divergence (Huang et al., 2022, https://arxiv.org/abs/2205.10536)."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lightning_distill.checks import check_choice, check_positive
from lightning_distill.losses.logits import as_matrix, lift_pair

DISTVariant = Literal["paper", "clamped"]
VARIANTS: tuple[DISTVariant, ...] = ("paper", "clamped")

EPS = 1e-8
# Multiples of the rounding error below which a centred vector is rounding, not signal.
ROUNDING = 8.0


class Pearson(torch.autograd.Function):
    """The correlation along a dimension, with the first argument's gradient written out: a third faster than taped."""

    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor, dim: int, variant: DISTVariant) -> Tensor:
        first, first_norm = _centred(first, dim)
        second, second_norm = _centred(second, dim)
        # The share of the first norm's slope in the scale's: 0 where the norm is clamped.
        follows = second_norm
        if variant == "paper":
            scale = first_norm * second_norm + EPS
        else:
            follows = second_norm.clamp_min(EPS) * (first_norm > EPS)
            scale = first_norm.clamp_min(EPS) * second_norm.clamp_min(EPS)
        correlation = (first * second).sum(dim=dim, keepdim=True) / scale
        ctx.save_for_backward(first, second, scale, correlation * follows / (first_norm * scale))
        return correlation.squeeze(dim)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        first, second, scale, pull = ctx.saved_tensors
        gradient = gradients[0].reshape(scale.shape)
        return torch.addcmul(second * (gradient / scale), first, pull * gradient, value=-1), None, None, None


def _centred(values: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """The centred vector and its norm; where the vector is constant the norm is 1, so that nothing is divided by 0."""
    mean = values.mean(dim=dim, keepdim=True)
    centred = values - mean
    norm = torch.linalg.vector_norm(centred, dim=dim, keepdim=True)
    # A constant vector has the norm |mean| * sqrt(n); what rounding leaves of it is this share.
    noise = mean.abs() * (ROUNDING * torch.finfo(values.dtype).eps * values.shape[dim] ** 0.5)
    return centred, torch.where(norm > noise, norm, 1.0)


def pearson(first: Tensor, second: Tensor, dim: int, variant: DISTVariant = "paper") -> Tensor:
    """Pearson's correlation along ``dim``; 0 for a constant vector, whose gradient stays finite.

    Args:
        first: Any shape; receives a gradient.
        second: Same shape; receives none.
        dim: The dimension that is correlated; it is dropped.
        variant: ``"paper"`` adds 1e-8 to the product of the norms, as the authors' code; ``"clamped"`` keeps each norm
            above 1e-8, as torchdistill.

    Example:
        >>> pearson(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([3.0, 5.0, 9.0]), dim=0)
        tensor(1.0000)
    """
    correlation: Tensor = Pearson.apply(first, second, dim, variant)
    return correlation


def dist_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    beta: float = 1.0,
    gamma: float = 1.0,
    temperature: float = 1.0,
    variant: DISTVariant = "paper",
) -> Tensor:
    """``beta`` * (1 - correlation within a sample) + ``gamma`` * (1 - within a class), times ``temperature`` squared.

    Correlations are Pearson's, of the softened probabilities: each sample's over the classes, averaged over samples,
    and each class's over the batch, averaged over classes. The second part sees the whole batch: with one sample it is
    the constant ``gamma``. Zero where the two agree (up to 1e-8).

    Args:
        student_logits: ``[B, C, ...]``; the only input that receives a gradient. Positions count as samples.
        teacher_logits: Same shape.
        beta: Coefficient of the relation between classes.
        gamma: Coefficient of the relation within a class.
        temperature: Above 0.
        variant: See :func:`pearson`. The two differ where a class is close to 0 for the whole batch.

    Returns:
        Scalar, in the inputs' precision but never below float32.

    Raises:
        ValueError: If the shapes differ, ``temperature`` is not above 0 or ``variant`` is unknown.

    Example:
        >>> dist_loss(torch.eye(3), torch.eye(3).flip(0))
        tensor(2.)
    """
    check_positive("temperature", temperature)
    check_choice("variant", variant, VARIANTS)
    student, teacher = lift_pair(student_logits, teacher_logits)
    student_probs = (as_matrix(student) / temperature).softmax(dim=1)
    teacher_probs = (as_matrix(teacher) / temperature).softmax(dim=1)
    between = 1 - pearson(student_probs, teacher_probs, dim=1, variant=variant).mean()
    within = 1 - pearson(student_probs, teacher_probs, dim=0, variant=variant).mean()
    return (beta * between + gamma * within) * temperature**2


class DISTLoss(nn.Module):
    """Module form of :func:`dist_loss`.

    Example:
        >>> DISTLoss()(torch.eye(3), torch.eye(3).flip(0))
        tensor(2.)
    """

    def __init__(
        self, beta: float = 1.0, gamma: float = 1.0, temperature: float = 1.0, variant: DISTVariant = "paper"
    ) -> None:
        super().__init__()
        check_positive("temperature", temperature)
        check_choice("variant", variant, VARIANTS)
        self.beta = beta
        self.gamma = gamma
        self.temperature = temperature
        self.variant: DISTVariant = variant

    def forward(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        return dist_loss(student_logits, teacher_logits, self.beta, self.gamma, self.temperature, self.variant)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, gamma={self.gamma}, temperature={self.temperature}, variant={self.variant!r}"
