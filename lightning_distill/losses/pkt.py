"""Probabilistic knowledge transfer, PKT (Passalis and Tefas, 2018, https://arxiv.org/abs/1803.10837)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lightning_distill.losses.embeddings import feature_rows, gram, unit_rows

# The authors' constant, beside both a norm and a probability.
EPS = 1e-7


def _neighbour_probs(rows: Tensor) -> Tensor:
    # Rounding puts a cosine a little below -1.
    similarity = (gram(unit_rows(rows, eps=EPS)) + 1).clamp_min(0)
    return similarity / similarity.sum(dim=1, keepdim=True)


def pkt_loss(student_features: Tensor, teacher_features: Tensor, gather: bool = False) -> Tensor:
    """Divergence of the student's from the teacher's neighbour probabilities: a mean over all ``B * B`` pairs.

    A sample's neighbour probabilities are its cosine similarities to all samples, moved to [0, 1] and divided by their
    sum. The mean is over pairs, as published, so values are ``B`` times smaller than a mean over samples. Zero where
    the two agree, and with one sample.

    Args:
        student_features: ``[B, ...]``; the only input that receives a gradient.
        teacher_features: ``[B, ...]``, of any width.
        gather: Compare the samples of all ranks.

    Returns:
        Scalar, in the inputs' precision but never below float32.

    Raises:
        ValueError: If the numbers of samples differ.

    Example:
        >>> pkt_loss(torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
        tensor(0.0294)
    """
    student, teacher = feature_rows(student_features, teacher_features, gather)
    student_probs, teacher_probs = _neighbour_probs(student), _neighbour_probs(teacher)
    # log1p of the relative difference: a difference of two logarithms loses all digits near agreement.
    log_ratio = torch.log1p((student_probs - teacher_probs) / (teacher_probs + EPS))
    return -(teacher_probs * log_ratio).mean()


class PKTLoss(nn.Module):
    """Module form of :func:`pkt_loss`.

    Example:
        >>> PKTLoss()(torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
        tensor(0.0294)
    """

    def __init__(self, gather: bool = False) -> None:
        super().__init__()
        self.gather = gather

    def forward(self, student_features: Tensor, teacher_features: Tensor) -> Tensor:
        return pkt_loss(student_features, teacher_features, self.gather)

    def extra_repr(self) -> str:
        return f"gather={self.gather}"
