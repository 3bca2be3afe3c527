"""Correlation congruence, CC or CCKD (Peng et al., 2019, https://arxiv.org/abs/1904.01802)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from lightning_distill.checks import check_choice, check_positive
from lightning_distill.losses.embeddings import feature_rows, gram, lift_features, pool, project, unit_rows
from lightning_distill.losses.gather import gather_rows

Kernel = Literal["bilinear", "gaussian"]
KERNELS: tuple[Kernel, ...] = ("bilinear", "gaussian")
CCVariant = Literal["paper", "norm", "adjacent"]
VARIANTS: tuple[CCVariant, ...] = ("paper", "norm", "adjacent")


def _correlations(rows: Tensor, kernel: Kernel, gamma: float, order: int) -> Tensor:
    """The kernel of all pairs ``[B, B]``; the Gaussian one as its Taylor series in the inner product."""
    products = gram(rows)
    if kernel == "bilinear":
        return products
    # Horner: exp(-2 gamma) * sum over p of (2 gamma x)**p / p!, the Gaussian of the distance between unit vectors.
    series = torch.ones_like(products)
    for power in range(order, 0, -1):
        series = 1 + series * products * (2 * gamma / power)
    return series * math.exp(-2 * gamma)


def _adjacent(student: Tensor, teacher: Tensor) -> Tensor:
    """Products of neighbouring samples' absolute differences, summed over the width: a mean over the neighbours."""
    if student.shape != teacher.shape:
        raise ValueError(
            "Expected `student_features` and `teacher_features` to have the same width for variant='adjacent', but got "
            f"{student.shape[1]} and {teacher.shape[1]}. Give `student_channels` and `teacher_channels`."
        )
    difference = (student - teacher).abs()
    return (difference[:-1] * difference[1:]).sum() / max(difference.shape[0] - 1, 1)


def _frobenius(values: Tensor) -> Tensor:
    """The norm; 0 without a gradient at 0."""
    squares = values.square().sum()
    return torch.where(squares > 0, torch.where(squares > 0, squares, 1.0).sqrt(), 0.0)


def cc_loss(
    student_features: Tensor,
    teacher_features: Tensor,
    kernel: Kernel = "gaussian",
    gamma: float = 0.4,
    order: int = 2,
    normalize: bool = True,
    variant: CCVariant = "paper",
    gather: bool = False,
) -> Tensor:
    """Mean squared difference of the two sides' correlations: over all ``B * B`` pairs of samples.

    Zero where the two agree.

    Args:
        student_features: ``[B, ...]``; the only input that receives a gradient.
        teacher_features: ``[B, ...]``, of any width.
        kernel: What a correlation is: ``"bilinear"``, the inner product, or ``"gaussian"``, its Taylor series.
        gamma: Inverse width of the Gaussian, above 0.
        order: Last power of the series.
        normalize: Divide every sample by its norm first, without which the series is not that of a Gaussian.
        variant: ``"paper"``; ``"norm"``, the root of the sum of squares over ``B * B``, as torchdistill (which does not
            normalise either); ``"adjacent"``, a mean over neighbours in the batch of the products of the absolute
            differences, as the authors' code: it depends on the order of the samples and uses no kernel.
        gather: Compare the samples of all ranks.

    Returns:
        Scalar, in the inputs' precision but never below float32.

    Raises:
        ValueError: If the numbers of samples differ, or an argument is none of the above.

    Example:
        >>> cc_loss(torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]]), kernel="bilinear")
        tensor(0.5000)
    """
    _check(kernel, gamma, order, variant)
    student, teacher = feature_rows(student_features, teacher_features, gather)
    return _congruence(student, teacher, kernel, gamma, order, normalize, variant)


def _check(kernel: Kernel, gamma: float, order: int, variant: CCVariant) -> None:
    check_choice("kernel", kernel, KERNELS)
    check_choice("variant", variant, VARIANTS)
    check_positive("gamma", gamma)
    check_positive("order", order)


def _congruence(
    student: Tensor, teacher: Tensor, kernel: Kernel, gamma: float, order: int, normalize: bool, variant: CCVariant
) -> Tensor:
    if normalize:
        student, teacher = unit_rows(student), unit_rows(teacher)
    if variant == "adjacent":
        return _adjacent(student, teacher)
    difference = _correlations(student, kernel, gamma, order) - _correlations(teacher, kernel, gamma, order)
    return _frobenius(difference) / difference.numel() if variant == "norm" else difference.square().mean()


class CCLoss(nn.Module):
    """:func:`cc_loss`, on trained projections of both sides where their widths are given.

    Args:
        student_channels: Width of the student's features; with ``teacher_channels`` both sides are averaged over
            positions or tokens and projected to ``dim``. The teacher's projection is trained too.
        teacher_channels: Likewise.
        dim: Width of the projections.
        kernel: See :func:`cc_loss`, as the rest.

    Raises:
        ValueError: If one of the widths is given alone, or an argument is none of those of :func:`cc_loss`.

    Example:
        >>> CCLoss(kernel="bilinear")(torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
        tensor(0.5000)
    """

    def __init__(
        self,
        student_channels: int | None = None,
        teacher_channels: int | None = None,
        dim: int = 128,
        kernel: Kernel = "gaussian",
        gamma: float = 0.4,
        order: int = 2,
        normalize: bool = True,
        variant: CCVariant = "paper",
        gather: bool = False,
    ) -> None:
        super().__init__()
        _check(kernel, gamma, order, variant)
        if (student_channels is None) != (teacher_channels is None):
            raise ValueError(
                "Expected `student_channels` and `teacher_channels` to be given together, but got "
                f"{student_channels} and {teacher_channels}."
            )
        self.kernel: Kernel = kernel
        self.gamma = gamma
        self.order = order
        self.normalize = normalize
        self.variant: CCVariant = variant
        self.gather = gather
        self.student_embedding = None if student_channels is None else nn.Linear(student_channels, dim)
        self.teacher_embedding = None if teacher_channels is None else nn.Linear(teacher_channels, dim)

    def forward(self, student_features: Tensor, teacher_features: Tensor) -> Tensor:
        if self.student_embedding is None or self.teacher_embedding is None:
            student, teacher = feature_rows(student_features, teacher_features, self.gather)
        else:
            student, teacher = lift_features(pool(student_features), pool(teacher_features))
            student = project(self.student_embedding, student, "student")
            teacher = project(self.teacher_embedding, teacher, "teacher")
            if self.gather:
                student, teacher = gather_rows(student), gather_rows(teacher)
        options = (self.kernel, self.gamma, self.order, self.normalize, self.variant)
        return _congruence(student, teacher, *options)

    def extra_repr(self) -> str:
        return (
            f"kernel={self.kernel!r}, gamma={self.gamma}, order={self.order}, normalize={self.normalize}, "
            f"variant={self.variant!r}, gather={self.gather}"
        )
