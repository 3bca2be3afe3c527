"""Multi-level logit distillation, MLKD (Jin et al., 2023, CVPR, "Multi-level Logit Distillation")."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from lightning_distill.checks import check_choice, check_positive
from lightning_distill.losses.logits import lift_pair
from lightning_distill.losses.precision import full_precision
from lightning_distill.losses.soft_target import kl_distillation_loss

MLKDVariant = Literal["paper", "code"]
VARIANTS: tuple[MLKDVariant, ...] = ("paper", "code")
TEMPERATURES = (2.0, 3.0, 4.0, 5.0, 6.0)
# The temperatures at which the published code compares the first view where it means the second.
MISTAKEN = (2.0, 6.0)


def batch_relation_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 4.0) -> Tensor:
    """``||P_t P_t^T - P_s P_s^T||^2 / B``: how alike the samples' softened predictions are. Zero at agreement.

    Args:
        student_logits: ``[B, C]``; the only input that receives a gradient.
        teacher_logits: Same shape.
        temperature: Above 0; not squared into the value.

    Raises:
        ValueError: If the shapes differ or ``temperature`` is not above 0.

    Example:
        >>> import torch
        >>> batch_relation_loss(torch.eye(2), torch.zeros(2, 2), temperature=1.0)
        tensor(0.0228)
    """
    student, teacher = _soft_predictions(student_logits, teacher_logits, temperature)
    with full_precision(student):
        return (teacher @ teacher.T - student @ student.T).square().sum() / student.shape[0]


def class_relation_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 4.0) -> Tensor:
    """``||P_t^T P_t - P_s^T P_s||^2 / C``: which classes are predicted together. Zero at agreement.

    Args:
        student_logits: ``[B, C]``; the only input that receives a gradient.
        teacher_logits: Same shape.
        temperature: Above 0; not squared into the value.

    Raises:
        ValueError: If the shapes differ or ``temperature`` is not above 0.

    Example:
        >>> import torch
        >>> class_relation_loss(torch.eye(2), torch.zeros(2, 2), temperature=1.0)
        tensor(0.0228)
    """
    student, teacher = _soft_predictions(student_logits, teacher_logits, temperature)
    with full_precision(student):
        return (teacher.T @ teacher - student.T @ student).square().sum() / student.shape[1]


def _soft_predictions(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    check_positive("temperature", temperature)
    student, teacher = lift_pair(student_logits, teacher_logits)
    if student.dim() != 2:
        raise ValueError(
            f"Expected `student_logits` to have the shape [B, C], but got {list(student.shape)}. Relations between "
            "positions of a map are not defined: pool or flatten it."
        )
    return (student / temperature).softmax(dim=1), (teacher / temperature).softmax(dim=1)


def mlkd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperatures: Sequence[float] = TEMPERATURES,
    views: int = 1,
    standardize: bool = False,
    variant: MLKDVariant = "paper",
) -> Tensor:
    """Soft targets + relation between samples + relation between classes, summed over temperatures and views.

    The soft-target part is :func:`kl_distillation_loss` (T**2 inside), the others are :func:`batch_relation_loss` and
    :func:`class_relation_loss` (no T**2).

    Args:
        student_logits: ``[views * B, C]``, one view of all samples after the other (the weakly augmented one first);
            the only input that receives a gradient.
        teacher_logits: Same shape.
        temperatures: Each above 0.
        views: How many views of each sample the batch holds.
        standardize: Standardise the logits of the soft-target part (https://arxiv.org/abs/2403.01427).
        variant: ``"paper"`` treats all views alike. ``"code"`` is what the published code computes: relations of the
            first view only, each part of the first view times the share of samples (classes) whose confidence is at
            most the median, and at temperatures 2 and 6 the first view again in place of the second.

    Returns:
        Scalar, in the inputs' precision but never below float32.

    Raises:
        ValueError: If the shapes differ, a temperature is not above 0, ``variant`` is unknown or the batch is no
            multiple of ``views``.

    Example:
        >>> import torch
        >>> mlkd_loss(torch.eye(3), torch.zeros(3, 3), temperatures=[4.0])
        tensor(0.1141)
    """
    check_choice("variant", variant, VARIANTS)
    student, teacher = lift_pair(student_logits, teacher_logits)
    _check_views(student, views)
    pairs = list(zip(student.chunk(views), teacher.chunk(views), strict=True))
    if variant == "code":
        return _published_code(pairs, temperatures, standardize)
    total = student.new_zeros(())
    for view in pairs:
        for temperature in temperatures:
            total = total + kl_distillation_loss(*view, temperature, standardize=standardize)
            total = total + batch_relation_loss(*view, temperature) + class_relation_loss(*view, temperature)
    return total


def _published_code(pairs: Sequence[tuple[Tensor, Tensor]], temperatures: Sequence[float], standardize: bool) -> Tensor:
    first = pairs[0]
    probabilities = first[1].softmax(dim=1)
    samples = _share_up_to_median(probabilities.amax(dim=1))
    classes = _share_up_to_median(probabilities.sum(dim=0))
    total = first[0].new_zeros(())
    for temperature in temperatures:
        total = total + samples * kl_distillation_loss(*first, temperature, standardize=standardize)
        total = total + samples * batch_relation_loss(*first, temperature)
        total = total + classes * class_relation_loss(*first, temperature)
        for second in pairs[1:]:
            view = first if temperature in MISTAKEN else second
            total = total + kl_distillation_loss(*view, temperature, standardize=standardize)
    return total


def _share_up_to_median(values: Tensor) -> Tensor:
    return (values <= values.quantile(0.5)).to(values.dtype).mean()


def _check_views(logits: Tensor, views: int) -> None:
    if views < 1 or logits.shape[0] % views:
        raise ValueError(
            f"Expected `views` to divide the batch of {logits.shape[0]}, but got {views}. Stack the views along the "
            "batch: all samples of the first, then all of the next."
        )


class MLKDLoss(nn.Module):
    """Module form of :func:`mlkd_loss`.

    Example:
        >>> import torch
        >>> MLKDLoss(temperatures=[4.0])(torch.eye(3), torch.zeros(3, 3))
        tensor(0.1141)
    """

    def __init__(
        self,
        temperatures: Sequence[float] = TEMPERATURES,
        views: int = 1,
        standardize: bool = False,
        variant: MLKDVariant = "paper",
    ) -> None:
        super().__init__()
        check_choice("variant", variant, VARIANTS)
        for temperature in temperatures:
            check_positive("temperatures", temperature)
        check_positive("views", views)
        self.temperatures = tuple(temperatures)
        self.views = views
        self.standardize = standardize
        self.variant: MLKDVariant = variant

    def forward(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        return mlkd_loss(student_logits, teacher_logits, self.temperatures, self.views, self.standardize, self.variant)

    def extra_repr(self) -> str:
        return (
            f"temperatures={self.temperatures}, views={self.views}, standardize={self.standardize}, "
            f"variant={self.variant!r}"
        )
