"""Hidden states and tokens (as in TinyBERT, https://arxiv.org/abs/1909.10351, and FD, https://arxiv.org/abs/2205.14141)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_distill.checks import check_choice
from lightning_distill.losses.embeddings import lift_features, project, unit_rows

Distance = Literal["mse", "smooth_l1", "cosine"]
DISTANCES: tuple[Distance, ...] = ("mse", "smooth_l1", "cosine")
# Where FD's smooth L1 distance turns from a parabola into a line.
SMOOTH_L1_BETA = 2.0


def _whiten(tokens: Tensor) -> Tensor:
    """Zero mean and unit variance over the channels of every token: a layer norm without parameters."""
    return F.layer_norm(tokens, tokens.shape[-1:])


def _token_distances(student: Tensor, teacher: Tensor, distance: Distance) -> Tensor:
    """``[B, N, D]`` to the distance of every token ``[B, N]``: a mean over channels, or 1 - cosine."""
    if distance == "mse":
        return (student - teacher).square().mean(dim=-1)
    if distance == "smooth_l1":
        return F.smooth_l1_loss(student, teacher, reduction="none", beta=SMOOTH_L1_BETA).mean(dim=-1)
    return 1 - (unit_rows(student) * unit_rows(teacher)).sum(dim=-1)


def _mean(values: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return values.mean()
    if mask.shape != values.shape:
        raise ValueError(f"Expected `mask` to have the shape {list(values.shape)}, but got {list(mask.shape)}.")
    real = (mask != 0).to(values.dtype)
    return (values * real).sum() / real.sum().clamp_min(1)


def token_loss(
    student_tokens: Tensor,
    teacher_tokens: Tensor,
    distance: Distance = "mse",
    whiten: bool = False,
    mask: Tensor | None = None,
) -> Tensor:
    """Distance of the two sides' tokens: a mean over samples, tokens and channels.

    Zero where the two agree, unless the teacher's side is whitened.

    Args:
        student_tokens: ``[B, N, D]`` or ``[B, D]``; the only input that receives a gradient.
        teacher_tokens: Same shape.
        distance: ``"mse"``; ``"smooth_l1"``, a parabola up to 2 and a line beyond; ``"cosine"``, 1 - cosine.
        whiten: Bring every token of the teacher to zero mean and unit variance first; with ``"smooth_l1"`` this is FD.
        mask: ``[B, N]``, 0 at padding, which is left out.

    Returns:
        Scalar, in the inputs' precision but never below float32.

    Raises:
        ValueError: If the shapes do not fit or ``distance`` is unknown.

    Example:
        >>> token_loss(torch.zeros(1, 2, 2), torch.tensor([[[1.0, 3.0], [0.0, 0.0]]]))
        tensor(2.5000)
    """
    check_choice("distance", distance, DISTANCES)
    student, teacher = lift_features(student_tokens, teacher_tokens)
    if student.shape != teacher.shape:
        raise ValueError(
            "Expected `student_features` and `teacher_features` to have the same shape, but got "
            f"{list(student.shape)} and {list(teacher.shape)}. TokenLoss with `student_channels` and "
            "`teacher_channels` joins widths, with `student_prefix` and `teacher_prefix` numbers of extra tokens."
        )
    return _mean(_token_distances(student, _whiten(teacher) if whiten else teacher, distance), mask)


class TokenLoss(nn.Module):
    """:func:`token_loss` of one layer or the mean over several, with a trained projection where widths are given.

    Args:
        student_channels: Width of the student's tokens, or one for each layer: with ``teacher_channels``, a linear
            projection for each layer brings the student's to the teacher's.
        teacher_channels: Likewise.
        distance: See :func:`token_loss`.
        whiten: See :func:`token_loss`.
        student_prefix: Number of the student's first tokens to leave out: class and distillation tokens that the
            teacher does not have.
        teacher_prefix: Likewise.

    Raises:
        ValueError: If only one of the widths is given, or their numbers differ; in the call, if the shapes do not fit.

    Example:
        >>> TokenLoss()(torch.zeros(1, 2, 2), torch.tensor([[[1.0, 3.0], [0.0, 0.0]]]))
        tensor(2.5000)
    """

    def __init__(
        self,
        student_channels: int | Sequence[int] | None = None,
        teacher_channels: int | Sequence[int] | None = None,
        distance: Distance = "mse",
        whiten: bool = False,
        student_prefix: int = 0,
        teacher_prefix: int = 0,
    ) -> None:
        super().__init__()
        check_choice("distance", distance, DISTANCES)
        narrow, wide = _listed(student_channels), _listed(teacher_channels)
        if len(narrow) != len(wide):
            raise ValueError(
                "Expected `student_channels` and `teacher_channels` to be given together and for as many layers, but "
                f"got {student_channels} and {teacher_channels}."
            )
        self.distance: Distance = distance
        self.whiten = whiten
        self.student_prefix = student_prefix
        self.teacher_prefix = teacher_prefix
        self.projections = nn.ModuleList(nn.Linear(s, t) for s, t in zip(narrow, wide, strict=True))

    def forward(
        self,
        student_tokens: Tensor | Sequence[Tensor],
        teacher_tokens: Tensor | Sequence[Tensor],
        *,
        mask: Tensor | None = None,
    ) -> Tensor:
        """The loss.

        Args:
            student_tokens: ``[B, N, D]`` or ``[B, D]``, or one for each layer; with the projections all that receives
                a gradient.
            teacher_tokens: Likewise.
            mask: ``[B, N]`` as the tokens before any is left out; 0 at padding.
        """
        students, teachers = _layers(student_tokens), _layers(teacher_tokens)
        layers = len(self.projections) or len(students)
        if not len(students) == len(teachers) == layers:
            raise ValueError(
                f"Expected `student_tokens` and `teacher_tokens` to hold {layers} layers each, but got {len(students)} "
                f"and {len(teachers)}."
            )
        losses = [self._layer(i, *pair, mask) for i, pair in enumerate(zip(students, teachers, strict=True))]
        return torch.stack(losses).mean()

    def _layer(self, index: int, student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
        student, teacher = student[:, self.student_prefix :] if student.dim() > 2 else student, teacher
        teacher = teacher[:, self.teacher_prefix :] if teacher.dim() > 2 else teacher
        student, teacher = lift_features(student, teacher)
        if self.projections:
            student = project(cast(nn.Linear, self.projections[index]), student, "student")
        left = None if mask is None else mask[:, self.student_prefix :]
        return token_loss(student, teacher, self.distance, self.whiten, left)

    def extra_repr(self) -> str:
        return (
            f"distance={self.distance!r}, whiten={self.whiten}, student_prefix={self.student_prefix}, "
            f"teacher_prefix={self.teacher_prefix}"
        )


def _listed(channels: int | Sequence[int] | None) -> tuple[int, ...]:
    if channels is None:
        return ()
    return (channels,) if isinstance(channels, int) else tuple(channels)


def _layers(tokens: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    return (tokens,) if isinstance(tokens, Tensor) else tuple(tokens)
