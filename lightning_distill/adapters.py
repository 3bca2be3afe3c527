"""Bring a student's feature to the shape of the teacher's. Adapters are trained, and sized before training."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_distill.checks import check_choice

Shape = Sequence[int]
AdapterKind = Literal["auto", "identity", "linear", "conv", "conv_bn", "fitnet", "token"]
# How many tokens may precede the grid: none, class, class and distillation, class and four registers.
PREFIXES = (0, 1, 2, 5)
RANKS = {2: "linear", 3: "token", 4: "conv"}
FORMS = {"linear": "[B, D]", "token": "[B, N, D]", "conv": "[B, C, H, W]"}


def build_adapter(
    kind: AdapterKind | nn.Module,
    student_shape: Shape,
    teacher_shape: Shape,
    image_size: tuple[int, int] | None = None,
) -> nn.Module:
    """A module that turns a student's feature into one of the teacher's shape.

    Args:
        kind: ``"auto"`` (by the shapes; nothing where they are equal), ``"identity"``, ``"linear"`` for ``[B, D]``,
            ``"conv"`` for ``[B, C, H, W]`` (1x1 convolution), ``"conv_bn"`` (with BatchNorm), ``"fitnet"`` (FitNets'
            regressor), ``"token"`` for ``[B, N, D]``, or a module of your own, which is used as it is.
        student_shape: With the batch first; the batch's size does not matter.
        teacher_shape: Likewise.
        image_size: Height and width of the networks' input, for the grid of tokens; square if not given.

    Raises:
        TypeError: If ``kind`` is neither a name nor a module.
        ValueError: If the adapter cannot join the two shapes.

    Example:
        >>> build_adapter("auto", (2, 8, 14, 14), (2, 32, 7, 7))
        ConvAdapter(
          resize=(7, 7)
          (project): Conv2d(8, 32, kernel_size=(1, 1), stride=(1, 1))
        )
    """
    if isinstance(kind, nn.Module):
        return kind
    if not isinstance(kind, str):
        raise TypeError(f"Expected `adapter` to be a name or an nn.Module, but got {type(kind).__name__}.")
    check_choice("adapter", kind, ("auto", "identity", *BUILDERS))
    student, teacher = tuple(student_shape[1:]), tuple(teacher_shape[1:])
    if kind == "identity" or (kind == "auto" and student == teacher):
        return nn.Identity()
    form = _form(kind, student_shape, teacher_shape)
    return BUILDERS[form if kind == "auto" else kind](student, teacher, image_size)


def _form(kind: str, student_shape: Shape, teacher_shape: Shape) -> str:
    """Which of :data:`FORMS` both features have, as far as ``kind`` allows it."""
    student, teacher = RANKS.get(len(student_shape)), RANKS.get(len(teacher_shape))
    wanted = student if kind == "auto" else {"conv_bn": "conv", "fitnet": "conv"}.get(kind, kind)
    if wanted is None or not student == teacher == wanted:
        raise _cannot_join(
            kind,
            student_shape[1:],
            teacher_shape[1:],
            f"It takes {FORMS[wanted]} on both sides." if wanted else f"It knows {', '.join(FORMS.values())}.",
        )
    return wanted


def _cannot_join(kind: str, student: Shape, teacher: Shape, why: str) -> ValueError:
    return ValueError(
        f"Expected features that the adapter {kind!r} can join, but the student's is {['B', *student]} and the "
        f"teacher's {['B', *teacher]}. {why} Tap modules of the same form, for instance the input of both classifiers "
        "('fc:input'), or pass an nn.Module as `adapter`.".replace("'B'", "B")
    )


class ConvAdapter(nn.Module):
    """A 1x1 convolution over ``[B, C, H, W]``; a map of another size is resized.

    A larger map is averaged down before the convolution, a smaller one interpolated (bilinear) after it: each where
    there is less to compute.

    Args:
        student_channels: Channels in.
        teacher_channels: Channels out.
        resize: Height and width to bring maps to; ``None`` leaves the size alone.
        batch_norm: Whether to normalise after the convolution, which then has no bias.

    Example:
        >>> ConvAdapter(8, 32, resize=(7, 5))(torch.zeros(2, 8, 14, 4)).shape
        torch.Size([2, 32, 7, 5])
    """

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        resize: tuple[int, int] | None = None,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        self.resize = resize
        self.project: nn.Module = nn.Conv2d(student_channels, teacher_channels, 1, bias=not batch_norm)
        if batch_norm:
            self.project = nn.Sequential(self.project, nn.BatchNorm2d(teacher_channels))

    def forward(self, feature: Tensor) -> Tensor:
        if self.resize is None:
            projected: Tensor = self.project(feature)
            return projected
        height, width = (min(have, want) for have, want in zip(feature.shape[2:], self.resize, strict=True))
        projected = self.project(_pool(feature, (height, width)))
        if tuple(projected.shape[2:]) != self.resize:
            projected = F.interpolate(projected, size=self.resize, mode="bilinear", align_corners=False)
        return projected

    def extra_repr(self) -> str:
        return "" if self.resize is None else f"resize={self.resize}"


def _pool(feature: Tensor, size: tuple[int, int]) -> Tensor:
    return feature if tuple(feature.shape[2:]) == size else F.adaptive_avg_pool2d(feature, size)


class FitNetRegressor(nn.Sequential):
    """Convolution, BatchNorm, ReLU to the teacher's map (FitNets: Romero et al., 2015, https://arxiv.org/abs/1412.6550).

    A 3x3 convolution with stride 2 where the student's map is twice as large, a 4x4 transposed one where it is half as
    large, otherwise a valid convolution whose kernel takes off the difference.

    Args:
        student_shape: ``(C, H, W)``.
        teacher_shape: ``(C, H, W)``.

    Raises:
        ValueError: If the student's map is smaller by another factor than 2.

    Example:
        >>> FitNetRegressor((8, 6, 4), (16, 3, 2))(torch.zeros(2, 8, 6, 4)).shape
        torch.Size([2, 16, 3, 2])
    """

    def __init__(self, student_shape: Shape, teacher_shape: Shape) -> None:
        (c_in, *have), (c_out, *want) = student_shape, teacher_shape
        sizes = list(zip(have, want, strict=True))
        conv: nn.Module
        if all(h == 2 * w for h, w in sizes):
            conv = nn.Conv2d(c_in, c_out, kernel_size=3, stride=2, padding=1)
        elif all(2 * h == w for h, w in sizes):
            conv = nn.ConvTranspose2d(c_in, c_out, kernel_size=4, stride=2, padding=1)
        elif all(h >= w for h, w in sizes):
            height, width = (1 + h - w for h, w in sizes)
            conv = nn.Conv2d(c_in, c_out, kernel_size=(height, width))
        else:
            why = "The student's map must be larger, or half as large; 'conv' resizes any map."
            raise _cannot_join("fitnet", student_shape, teacher_shape, why)
        super().__init__(conv, nn.BatchNorm2d(c_out), nn.ReLU())


class TokenAdapter(nn.Module):
    """A linear layer over tokens ``[B, N, D]``; a grid of another size is interpolated (bilinear).

    Tokens ahead of the grid (class, distillation, registers) are kept apart: as many as the teacher has are passed on,
    in their order.

    Args:
        student_dim: Size of the student's tokens.
        teacher_dim: Size of the teacher's tokens.
        student_grid: Height and width of the student's grid; ``None`` leaves the tokens as many as they are.
        teacher_grid: Height and width of the teacher's grid.
        student_prefix: Number of student tokens ahead of the grid.
        teacher_prefix: Number of teacher tokens ahead of the grid; not above the student's.

    Raises:
        ValueError: If the teacher has more tokens ahead of its grid than the student, or only one grid is given.

    Example:
        >>> TokenAdapter(8, 16, (2, 2), (4, 3), student_prefix=2, teacher_prefix=1)(torch.zeros(5, 6, 8)).shape
        torch.Size([5, 13, 16])
    """

    def __init__(
        self,
        student_dim: int,
        teacher_dim: int,
        student_grid: tuple[int, int] | None = None,
        teacher_grid: tuple[int, int] | None = None,
        student_prefix: int = 0,
        teacher_prefix: int = 0,
    ) -> None:
        super().__init__()
        if (student_grid is None) != (teacher_grid is None):
            raise ValueError(f"Expected both grids or neither, but got {student_grid} and {teacher_grid}.")
        if teacher_prefix > student_prefix:
            raise ValueError(
                f"Expected `teacher_prefix` to be at most `student_prefix`, but got {teacher_prefix} and "
                f"{student_prefix}. A class token cannot be made from a grid."
            )
        self.project = nn.Linear(student_dim, teacher_dim)
        self.student_grid, self.teacher_grid = student_grid, teacher_grid
        self.student_prefix, self.teacher_prefix = student_prefix, teacher_prefix

    def forward(self, tokens: Tensor) -> Tensor:
        projected: Tensor = self.project(tokens)
        if self.student_grid is None:
            return projected
        prefix, grid = projected[:, : self.teacher_prefix], projected[:, self.student_prefix :]
        if self.student_grid != self.teacher_grid:
            grid = grid.transpose(1, 2).reshape(grid.shape[0], grid.shape[2], *self.student_grid)
            grid = F.interpolate(grid, size=self.teacher_grid, mode="bilinear", align_corners=False)
            grid = grid.flatten(2).transpose(1, 2)
        return torch.cat([prefix, grid], dim=1)

    def extra_repr(self) -> str:
        if self.student_grid is None:
            return ""
        return f"{self.student_prefix}+{self.student_grid} -> {self.teacher_prefix}+{self.teacher_grid}"


def _linear(student: Shape, teacher: Shape, image_size: tuple[int, int] | None) -> nn.Module:
    return nn.Linear(student[0], teacher[0])


def _conv(student: Shape, teacher: Shape, image_size: tuple[int, int] | None, *, batch_norm: bool = False) -> nn.Module:
    resize = None if tuple(student[1:]) == tuple(teacher[1:]) else (teacher[1], teacher[2])
    return ConvAdapter(student[0], teacher[0], resize, batch_norm)


def _conv_bn(student: Shape, teacher: Shape, image_size: tuple[int, int] | None) -> nn.Module:
    return _conv(student, teacher, image_size, batch_norm=True)


def _fitnet(student: Shape, teacher: Shape, image_size: tuple[int, int] | None) -> nn.Module:
    return FitNetRegressor(student, teacher)


def _token(student: Shape, teacher: Shape, image_size: tuple[int, int] | None) -> nn.Module:
    if student[0] == teacher[0]:
        return TokenAdapter(student[1], teacher[1])
    student_split, teacher_split = split_tokens(student[0], image_size), split_tokens(teacher[0], image_size)
    if student_split is None or teacher_split is None:
        why = (
            "The tokens form no grid of the input's proportions: give `TokenAdapter(student_dim, teacher_dim, "
            "student_grid, teacher_grid, ...)`."
        )
        raise _cannot_join("token", student, teacher, why)
    (student_prefix, student_grid), (teacher_prefix, teacher_grid) = student_split, teacher_split
    if teacher_prefix > student_prefix:
        why = f"The teacher has {teacher_prefix} tokens ahead of its grid and the student {student_prefix}."
        raise _cannot_join("token", student, teacher, why)
    return TokenAdapter(student[1], teacher[1], student_grid, teacher_grid, student_prefix, teacher_prefix)


BUILDERS: dict[str, Callable[[Shape, Shape, tuple[int, int] | None], nn.Module]] = {
    "linear": _linear,
    "conv": _conv,
    "conv_bn": _conv_bn,
    "fitnet": _fitnet,
    "token": _token,
}


def split_tokens(count: int, image_size: tuple[int, int] | None = None) -> tuple[int, tuple[int, int]] | None:
    """How many of ``count`` tokens precede the grid, and the grid's height and width; ``None`` if none fits.

    Args:
        count: Number of tokens.
        image_size: Height and width of the input, whose proportions the grid has; square if not given.

    Example:
        >>> split_tokens(197), split_tokens(49), split_tokens(2 * 6 + 1, image_size=(32, 96))
        ((1, (14, 14)), (0, (7, 7)), (1, (2, 6)))
    """
    height, width = image_size or (1, 1)
    for prefix in PREFIXES:
        tokens = count - prefix
        if tokens < 1:
            continue
        rows = math.isqrt(tokens * height // width)
        if rows > 0 and tokens % rows == 0 and rows * width == tokens // rows * height:
            return prefix, (rows, tokens // rows)
    return None
