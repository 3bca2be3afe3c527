"""Self-attention relations, MiniLM v1 (Wang et al., 2020, https://arxiv.org/abs/2002.10957) and v2 (2012.15828)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from lightning_distill.checks import at_least_fp32, check_choice, check_positive
from lightning_distill.losses.divergence import score_divergence
from lightning_distill.losses.embeddings import gram
from lightning_distill.losses.precision import full_precision

MiniLMVariant = Literal["v1", "v2"]
VARIANTS: tuple[MiniLMVariant, ...] = ("v1", "v2")
Projections = Tensor | tuple[Tensor, ...] | list[Tensor]

# Which two of queries (0), keys (1) and values (2) are related, and with what coefficient.
RELATIONS: dict[MiniLMVariant, tuple[tuple[int, int, float], ...]] = {
    "v1": ((0, 1, 1.0), (2, 2, 1.0)),
    "v2": ((0, 0, 1 / 3), (1, 1, 1 / 3), (2, 2, 1 / 3)),
}


def _three(name: str, projections: Projections) -> tuple[Tensor, ...]:
    """Queries, keys and values, each ``[B, N, D]``; a single tensor ``[B, N, 3 * D]`` is cut into three."""
    if isinstance(projections, Tensor):
        if projections.dim() != 3 or projections.shape[-1] % 3:
            raise ValueError(
                f"Expected `{name}_projections` to have the shape [B, N, 3 * D], but got {list(projections.shape)}. "
                "Tap the layer that computes queries, keys and values, or give three layers."
            )
        return projections.chunk(3, dim=-1)
    if len(projections) != 3 or any(part.dim() != 3 for part in projections):
        shapes = [list(part.shape) for part in projections]
        raise ValueError(
            f"Expected `{name}_projections` to hold queries, keys and values of shape [B, N, D], but got {shapes}."
        )
    return tuple(projections)


def _in_heads(name: str, part: Tensor, heads: int) -> Tensor:
    """``[B, N, D]`` as ``[B, heads, N, D / heads]``, lifted."""
    if part.shape[-1] % heads:
        raise ValueError(
            f"Expected `heads` to divide the {name}'s width {part.shape[-1]}, but got {heads}. "
            "It need not be the number of attention heads."
        )
    batch, tokens, width = part.shape
    return at_least_fp32(part).reshape(batch, tokens, heads, width // heads).transpose(1, 2)


def _scores(first: Tensor, second: Tensor) -> Tensor:
    """Scaled inner products of all pairs of tokens, ``[B, heads, N, N]``."""
    scale = math.sqrt(math.sqrt(first.shape[-1]))
    if first is second:
        return gram(first / scale)
    with full_precision(first):
        return (first / scale) @ (second / scale).mT


def _check_tokens(student: tuple[Tensor, ...], teacher: tuple[Tensor, ...]) -> None:
    shapes = [list(part.shape[:2]) for part in (*student, *teacher)]
    if any(shape != shapes[0] for shape in shapes):
        raise ValueError(
            "Expected `student_projections` and `teacher_projections` to agree in samples and tokens [B, N], but got "
            f"{' and '.join(str(list(part.shape)) for part in (student[0], teacher[0]))}."
        )


def _row_weights(student: Tensor, mask: Tensor | None) -> tuple[Tensor | float, Tensor | None]:
    """What each row ``[B, heads, N]`` counts, and which keys ``[B, 1, 1, N]`` take part."""
    batch, heads, tokens = student.shape[:3]
    if mask is None:
        return 1 / (batch * heads * tokens), None
    if list(mask.shape) != [batch, tokens]:
        raise ValueError(f"Expected `mask` to have the shape [{batch}, {tokens}], but got {list(mask.shape)}.")
    real = mask.to(student.dtype)
    weight = real / (real.sum(dim=1, keepdim=True).clamp_min(1) * (batch * heads))
    return weight.unsqueeze(1), (mask != 0)[:, None, None, :]


def minilm_loss(
    student_projections: Projections,
    teacher_projections: Projections,
    heads: int = 12,
    variant: MiniLMVariant = "v2",
    mask: Tensor | None = None,
) -> Tensor:
    """KL(teacher || student) of relations between tokens: a mean over samples, heads and tokens, summed over relations.

    A relation is the softmax over tokens of scaled inner products, in ``heads`` groups of channels. Zero where the two
    agree.

    Args:
        student_projections: Queries, keys and values of one layer, each ``[B, N, D]``, or one tensor ``[B, N, 3 * D]``
            that holds them side by side; all that receives a gradient.
        teacher_projections: Likewise, of any width.
        heads: Number of groups; a divisor of both widths, need not be either network's number of attention heads.
        variant: ``"v1"``: queries with keys, and values with values, with coefficient 1; ``"v2"``: queries, keys and
            values each with themselves, with coefficient 1/3.
        mask: ``[B, N]``, 0 at padding, which is left out. A sample without any token counts 0.

    Returns:
        Scalar, in the inputs' precision but never below float32.

    Raises:
        ValueError: If the shapes do not fit or ``variant`` is unknown.

    Example:
        >>> eye = torch.eye(2).unsqueeze(0)
        >>> minilm_loss((eye, eye, eye), (2 * eye, 2 * eye, 2 * eye), heads=1)
        tensor(0.2250)
    """
    check_choice("variant", variant, VARIANTS)
    check_positive("heads", heads)
    student, teacher = _three("student", student_projections), _three("teacher", teacher_projections)
    _check_tokens(student, teacher)
    student = tuple(_in_heads("student", part, heads) for part in student)
    teacher = tuple(_in_heads("teacher", part.detach(), heads).to(student[0].dtype) for part in teacher)
    weight, keys = _row_weights(student[0], mask)
    total = []
    for first, second, coefficient in RELATIONS[variant]:
        scores = [_scores(side[first], side[second]) for side in (student, teacher)]
        if keys is not None:
            # The lowest finite number: minus infinity would make NaN of a sample without any token.
            scores = [part.masked_fill(~keys, torch.finfo(part.dtype).min) for part in scores]
        total.append(score_divergence(scores[0], scores[1], coefficient * weight))
    return torch.stack(total).sum()


class MiniLMLoss(nn.Module):
    """Module form of :func:`minilm_loss`.

    Example:
        >>> eye = torch.eye(2).unsqueeze(0)
        >>> MiniLMLoss(heads=1)((eye, eye, eye), (2 * eye, 2 * eye, 2 * eye))
        tensor(0.2250)
    """

    def __init__(self, heads: int = 12, variant: MiniLMVariant = "v2") -> None:
        super().__init__()
        check_choice("variant", variant, VARIANTS)
        check_positive("heads", heads)
        self.heads = heads
        self.variant: MiniLMVariant = variant

    def forward(
        self, student_projections: Projections, teacher_projections: Projections, *, mask: Tensor | None = None
    ) -> Tensor:
        return minilm_loss(student_projections, teacher_projections, self.heads, self.variant, mask)

    def extra_repr(self) -> str:
        return f"heads={self.heads}, variant={self.variant!r}"
