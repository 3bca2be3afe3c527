"""Multi-level logit distillation, MLKD (Jin et al., 2023, CVPR, "Multi-level Logit Distillation")."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_distill.checks import check_choice, check_positive
from lightning_distill.losses.logits import lift_pair
from lightning_distill.losses.precision import full_precision
from lightning_distill.losses.soft_target import kl_distillation_loss

Pair: TypeAlias = tuple[Tensor, Tensor]
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
        >>> batch_relation_loss(torch.eye(2), torch.zeros(2, 2), temperature=1.0)
        tensor(0.0228)
    """
    return _batch_relation(*_soft_predictions(student_logits, teacher_logits, temperature))


def class_relation_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 4.0) -> Tensor:
    """``||P_t^T P_t - P_s^T P_s||^2 / C``: which classes are predicted together. Zero at agreement.

    Args:
        student_logits: ``[B, C]``; the only input that receives a gradient.
        teacher_logits: Same shape.
        temperature: Above 0; not squared into the value.

    Raises:
        ValueError: If the shapes differ or ``temperature`` is not above 0.

    Example:
        >>> class_relation_loss(torch.eye(2), torch.zeros(2, 2), temperature=1.0)
        tensor(0.0228)
    """
    return _class_relation(*_soft_predictions(student_logits, teacher_logits, temperature))


def _batch_relation(student_probs: Tensor, teacher_probs: Tensor) -> Tensor:
    with full_precision(student_probs):
        ours, theirs = student_probs @ student_probs.T, teacher_probs @ teacher_probs.T
    return F.mse_loss(ours, theirs, reduction="sum") / student_probs.shape[0]


def _class_relation(student_probs: Tensor, teacher_probs: Tensor) -> Tensor:
    with full_precision(student_probs):
        ours, theirs = student_probs.T @ student_probs, teacher_probs.T @ teacher_probs
    return F.mse_loss(ours, theirs, reduction="sum") / student_probs.shape[1]


def _soft_predictions(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    check_positive("temperature", temperature)
    student, teacher = lift_pair(student_logits, teacher_logits)
    _check_matrix(student)
    return (student / temperature).softmax(dim=1), (teacher / temperature).softmax(dim=1)


def _check_matrix(logits: Tensor) -> None:
    if logits.dim() != 2:
        raise ValueError(
            f"Expected `student_logits` to have the shape [B, C], but got {list(logits.shape)}. Relations between "
            "positions of a map are not defined: pool or flatten it."
        )


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
        >>> mlkd_loss(torch.eye(3), torch.zeros(3, 3), temperatures=[4.0])
        tensor(0.1141)
    """
    check_choice("variant", variant, VARIANTS)
    student, teacher = lift_pair(student_logits, teacher_logits)
    _check_matrix(student)
    _check_views(student, views)
    pairs = list(zip(student.chunk(views), teacher.chunk(views), strict=True))
    if variant == "code":
        return _published_code(pairs, temperatures, standardize)
    parts = [part for view in pairs for part in _parts(view, temperatures, standardize)]
    return torch.stack(parts).sum()


def _parts(view: Pair, temperatures: Sequence[float], standardize: bool) -> Iterator[Tensor]:
    """Soft targets, relation between samples and relation between classes at each temperature in turn."""
    for temperature in temperatures:
        student, teacher = (F.log_softmax(logits / temperature, dim=1) for logits in view)
        if standardize:
            yield kl_distillation_loss(*view, temperature, standardize=True)
        else:
            yield F.kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2
        student_probs, teacher_probs = student.exp(), teacher.exp()
        yield _batch_relation(student_probs, teacher_probs)
        yield _class_relation(student_probs, teacher_probs)


def _published_code(pairs: Sequence[Pair], temperatures: Sequence[float], standardize: bool) -> Tensor:
    first = pairs[0]
    probabilities = first[1].softmax(dim=1)
    samples = _share_up_to_median(probabilities.amax(dim=1))
    classes = _share_up_to_median(probabilities.sum(dim=0))
    parts = torch.stack(list(_parts(first, temperatures, standardize))).view(-1, 3).sum(dim=0)
    total = samples * (parts[0] + parts[1]) + classes * parts[2]
    for second in pairs[1:]:
        for temperature in temperatures:
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
