"""Similarities to a queue of teacher embeddings, as lightly-train distils (idea: https://arxiv.org/abs/2106.05237)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_distill.checks import check_positive, check_same_shape
from lightning_distill.losses.divergence import score_divergence
from lightning_distill.losses.embeddings import gram, lift_features, pool, project, unit_rows
from lightning_distill.losses.gather import gather_rows
from lightning_distill.losses.precision import full_precision


def queue_loss(
    student_embeddings: Tensor,
    teacher_embeddings: Tensor,
    queue: Tensor,
    temperature: float = 0.07,
    filled: Tensor | None = None,
) -> Tensor:
    """KL(teacher || student) of the softened similarities to the rows of a queue: a mean over samples.

    Zero where the two agree.

    Args:
        student_embeddings: ``[B, D]``, of norm 1; the only input that receives a gradient.
        teacher_embeddings: Same shape.
        queue: ``[Q, D]``: embeddings of the teacher.
        temperature: Above 0.
        filled: ``[Q]``: which rows take part; all if ``None``.

    Returns:
        Scalar, in the inputs' precision but never below float32.

    Raises:
        ValueError: If the shapes differ or ``temperature`` is not above 0.

    Example:
        >>> queue_loss(torch.eye(2), torch.eye(2).flip(0), torch.eye(2), temperature=1.0)
        tensor(0.4621)
    """
    check_positive("temperature", temperature)
    check_same_shape(student_features=student_embeddings, teacher_features=teacher_embeddings)
    student, teacher = lift_features(student_embeddings, teacher_embeddings)
    rows = queue.detach().to(student.dtype)
    with full_precision(student):
        scores = student @ rows.mT / temperature, teacher @ rows.mT / temperature
    if filled is not None:
        scores = tuple(part.masked_fill(~filled, torch.finfo(part.dtype).min) for part in scores)  # type: ignore[assignment]
    return score_divergence(*scores, 1 / student.shape[0])


def token_similarity_loss(
    student_tokens: Tensor, teacher_tokens: Tensor, temperature: float = 0.07, normalize: bool = True
) -> Tensor:
    """KL(teacher || student) of every token's softened similarities to the sample's tokens: a mean over all tokens.

    Zero where the two agree.

    Args:
        student_tokens: ``[B, N, D]``; the only input that receives a gradient.
        teacher_tokens: ``[B, N, D']``.
        temperature: Above 0.
        normalize: Divide every token by its norm first.

    Raises:
        ValueError: If the numbers of samples or tokens differ, or ``temperature`` is not above 0.

    Example:
        >>> eye = torch.eye(2).unsqueeze(0)
        >>> token_similarity_loss(eye, torch.ones(1, 2, 2), temperature=1.0)
        tensor(0.1201)
    """
    check_positive("temperature", temperature)
    student, teacher = lift_features(student_tokens, teacher_tokens)
    if student.dim() != 3 or student.shape[:2] != teacher.shape[:2]:
        raise ValueError(
            "Expected `student_features` and `teacher_features` to agree in samples and tokens [B, N, D], but got "
            f"{list(student.shape)} and {list(teacher.shape)}."
        )
    if normalize:
        student, teacher = unit_rows(student), unit_rows(teacher)
    scores = gram(student) / temperature, gram(teacher) / temperature
    return score_divergence(*scores, 1 / (student.shape[0] * student.shape[1]))


class QueueLoss(nn.Module):
    """:func:`queue_loss` on a trained projection of the student, with its queue.

    In training the batch's teacher embeddings enter the queue first and the oldest leave it, so the batch's own are
    among those compared to. Rows that were never filled do not take part. Under DDP all ranks' embeddings enter.

    Args:
        teacher_channels: Width of the teacher's features: ``[B, D]``, tokens or maps, which are averaged.
        student_channels: Width of the student's, which are projected to it; ``None`` if they have it.
        size: Length of the queue.
        temperature: Above 0.

    Raises:
        ValueError: If an argument is out of range; in the call, if the shapes do not fit.

    Example:
        >>> QueueLoss(teacher_channels=3, size=4)(torch.eye(3), torch.eye(3)).round(decimals=4)
        tensor(0.)
    """

    queue: Tensor
    filled: Tensor

    def __init__(
        self,
        teacher_channels: int,
        student_channels: int | None = None,
        size: int = 8192,
        temperature: float = 0.07,
    ) -> None:
        super().__init__()
        check_positive("temperature", temperature)
        check_positive("size", size)
        self.temperature = temperature
        self.projection = None if student_channels is None else nn.Linear(student_channels, teacher_channels)
        self.register_buffer("queue", torch.zeros(size, teacher_channels))
        self.register_buffer("filled", torch.zeros(size, dtype=torch.bool))

    def forward(self, student_features: Tensor, teacher_features: Tensor) -> Tensor:
        student, teacher = lift_features(pool(student_features), pool(teacher_features))
        if self.projection is not None:
            student = project(self.projection, student, "student")
        student, teacher = unit_rows(student), unit_rows(teacher)
        if self.training:
            self._enqueue(teacher)
        return queue_loss(student, teacher, self.queue, self.temperature, self.filled)

    @torch.no_grad()
    def _enqueue(self, teacher: Tensor) -> None:
        new = gather_rows(teacher).to(self.queue.dtype)[: self.queue.shape[0]]
        self.queue.copy_(torch.cat([new, self.queue[: self.queue.shape[0] - new.shape[0]]]))
        self.filled.copy_(F.pad(self.filled[: self.filled.shape[0] - new.shape[0]], (new.shape[0], 0), value=True))

    def extra_repr(self) -> str:
        return f"size={self.queue.shape[0]}, temperature={self.temperature}"
