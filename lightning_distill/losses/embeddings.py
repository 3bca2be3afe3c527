"""What the relation losses share: one row per sample, Gram matrices and projections in full precision."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lightning_distill.checks import at_least_fp32
from lightning_distill.losses.gather import gather_rows
from lightning_distill.losses.precision import full_precision


def lift_features(student_features: Tensor, teacher_features: Tensor) -> tuple[Tensor, Tensor]:
    """Both sides in one precision of at least float32, the teacher's detached.

    Args:
        student_features: ``[B, ...]``.
        teacher_features: ``[B, ...]``; only the number of samples must agree.

    Raises:
        ValueError: If the numbers of samples differ or there is nothing but a batch dimension.

    Example:
        >>> student, teacher = lift_features(torch.ones(1, 2).half(), torch.ones(1, 3, requires_grad=True))
        >>> student.dtype, teacher.requires_grad
        (torch.float32, False)
    """
    for name, features in (("student_features", student_features), ("teacher_features", teacher_features)):
        if features.dim() < 2:
            raise ValueError(
                f"Expected `{name}` to have the shape [B, D] or [B, D, ...], but got {list(features.shape)}. "
                "Add the batch dimension."
            )
    if student_features.shape[0] != teacher_features.shape[0]:
        raise ValueError(
            "Expected `student_features` and `teacher_features` to hold as many samples, but got "
            f"{student_features.shape[0]} and {teacher_features.shape[0]}."
        )
    student, teacher = at_least_fp32(student_features), at_least_fp32(teacher_features.detach())
    if student.dtype != teacher.dtype:
        dtype = torch.promote_types(student.dtype, teacher.dtype)
        student, teacher = student.to(dtype), teacher.to(dtype)
    return student, teacher


def feature_rows(student_features: Tensor, teacher_features: Tensor, gather: bool = False) -> tuple[Tensor, Tensor]:
    """Both sides as matrices with one row per sample, lifted; with ``gather`` the samples of all ranks.

    Args:
        student_features: ``[B, ...]``, flattened to ``[B, D]``.
        teacher_features: ``[B, ...]``, flattened to ``[B, D']``.
        gather: See :func:`~lightning_distill.losses.gather.gather_rows`.

    Example:
        >>> [rows.shape for rows in feature_rows(torch.ones(4, 2, 3, 3), torch.ones(4, 5))]
        [torch.Size([4, 18]), torch.Size([4, 5])]
    """
    if gather:  # before the lift: half precision is half the traffic
        student_features, teacher_features = gather_rows(student_features), gather_rows(teacher_features.detach())
    student, teacher = lift_features(student_features, teacher_features)
    return student.flatten(1), teacher.flatten(1)


class Gram(torch.autograd.Function):
    """Inner products of all pairs of rows; one matrix product in backward where autograd would make two."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        return rows @ rows.mT

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (rows,) = ctx.saved_tensors
        product: Tensor = (gradients[0] + gradients[0].mT) @ rows
        return product


def gram(rows: Tensor) -> Tensor:
    """``[..., N, D]`` to the inner products ``[..., N, N]`` of its rows, never in half precision.

    Example:
        >>> gram(torch.tensor([[1.0, 2.0], [0.0, 3.0]]))
        tensor([[5., 6.],
                [6., 9.]])
    """
    with full_precision(rows):
        products: Tensor = Gram.apply(rows) if rows.requires_grad else rows @ rows.mT
    return products


class UnitRows(torch.autograd.Function):
    """Rows over their norm plus ``eps``, with one pass over them in backward."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, eps: float) -> Tensor:
        norm = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
        norm.masked_fill_(norm == 0, 1.0)
        units: Tensor = rows / (norm + eps) if eps else rows / norm
        ctx.save_for_backward(units, norm)
        ctx.eps = eps
        return units

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        units, norm = ctx.saved_tensors
        gradient = gradients[0]
        along = (units * gradient).sum(dim=-1, keepdim=True)
        if ctx.eps:
            return gradient / (norm + ctx.eps) - units * (along / norm), None
        return torch.addcmul(gradient, units, along, value=-1).div_(norm), None


def unit_rows(rows: Tensor, order: float = 2.0, eps: float = 0.0) -> Tensor:
    """Rows over their norm plus ``eps``; zero rows stay zero, with a gradient of ordinary size.

    Example:
        >>> unit_rows(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        tensor([[0.6000, 0.8000],
                [0.0000, 0.0000]])
    """
    if order == 2 and rows.requires_grad:
        units: Tensor = UnitRows.apply(rows, eps)
        return units
    norm = torch.linalg.vector_norm(rows, ord=order, dim=-1, keepdim=True)
    return rows / torch.where(norm > 0, norm + eps, 1.0)


def pool(features: Tensor) -> Tensor:
    """One vector per sample: ``[B, D]`` as it is, the mean over tokens ``[B, N, D]`` or positions ``[B, D, H, W]``.

    Example:
        >>> pool(torch.ones(2, 5, 3)).shape, pool(torch.ones(2, 3, 4, 4)).shape
        (torch.Size([2, 3]), torch.Size([2, 3]))
    """
    if features.dim() == 2:
        return features
    features = at_least_fp32(features)
    return features.mean(dim=1) if features.dim() == 3 else features.flatten(2).mean(dim=2)


def project(linear: nn.Linear, features: Tensor, name: str) -> Tensor:
    """``linear`` applied to ``features`` ``[..., D]``, both at least float32.

    Raises:
        ValueError: If the width does not fit; the message names ``name``.

    Example:
        >>> project(nn.Linear(3, 2).half(), torch.ones(1, 3), "student").dtype
        torch.float32
    """
    if features.shape[-1] != linear.in_features:
        raise ValueError(
            f"Expected `{name}_features` to have a width of `{name}_channels` = {linear.in_features}, but got "
            f"{features.shape[-1]} in {list(features.shape)}."
        )
    weight, bias = at_least_fp32(linear.weight), at_least_fp32(linear.bias)
    return F.linear(features.to(torch.promote_types(features.dtype, weight.dtype)), weight, bias)
