"""Minifinetuning, MFT: a teacher corrected by the label (Belcak et al., 2025, https://arxiv.org/abs/2506.15702)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_distill.checks import check_fraction, check_positive
from lightning_distill.losses.logits import check_labels, lift_pair

# Keeps the share finite where the teacher is sure; the value of the authors' code.
EPS = 1e-7


def correct_teacher(teacher_probs: Tensor, index: Tensor, threshold: float) -> Tensor:
    """The teacher's probabilities mixed with the label's one-hot vector until the label leads.

    Where the teacher is wrong, the label gets ``threshold`` more than the class that it preferred; where it is right,
    the label's probability rises by ``threshold``, to at most 1.

    Args:
        teacher_probs: ``[B, C, ...]``.
        index: ``[B, 1, ...]`` integer class indices.
        threshold: In [0, 1].

    Example:
        >>> correct_teacher(torch.tensor([[0.5, 0.3, 0.2]]), torch.tensor([[1]]), threshold=0.2)
        tensor([[0.3333, 0.5333, 0.1333]])
    """
    label_prob = teacher_probs.gather(1, index)
    top_prob, top = teacher_probs.max(dim=1, keepdim=True)
    lead = top_prob - label_prob
    if_wrong = (lead + threshold) / (1 + lead + EPS)
    raised = torch.where(label_prob > 1 - threshold, 1.0, label_prob + threshold)
    if_right = (raised - top_prob) / (1 - top_prob + EPS)
    share = torch.where(top == index, if_right, if_wrong)
    return (teacher_probs * (1 - share)).scatter_add(1, index, share)


def mft_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    target: Tensor,
    temperature: float = 1.0,
    threshold: float = 0.2,
) -> Tensor:
    """KL(corrected teacher || student), times ``temperature`` squared: a sum over classes, a mean over samples.

    Args:
        student_logits: ``[B, C, ...]``; the only input that receives a gradient.
        teacher_logits: Same shape.
        target: ``[B, ...]`` integer class indices.
        temperature: Above 0.
        threshold: In [0, 1]: how far the label leads after the correction (see :func:`correct_teacher`).

    Returns:
        Scalar, in the inputs' precision but never below float32.

    Raises:
        ValueError: If the shapes differ, ``target`` holds no class indices or a number is out of range.

    Example:
        >>> mft_loss(torch.eye(3), torch.eye(3).flip(0), torch.tensor([0, 1, 2]))
        tensor(0.0656)
    """
    check_positive("temperature", temperature)
    check_fraction("threshold", threshold)
    student, teacher = lift_pair(student_logits, teacher_logits)
    index = check_labels(target, student)
    corrected = correct_teacher((teacher / temperature).softmax(dim=1), index, threshold)
    student_log_probs = F.log_softmax(student / temperature, dim=1)
    return F.kl_div(student_log_probs, corrected, reduction="sum") * (temperature**2 / index.numel())


class MFTLoss(nn.Module):
    """Module form of :func:`mft_loss`.

    Example:
        >>> MFTLoss()(torch.eye(3), torch.eye(3).flip(0), target=torch.tensor([0, 1, 2]))
        tensor(0.0656)
    """

    def __init__(self, temperature: float = 1.0, threshold: float = 0.2) -> None:
        super().__init__()
        check_positive("temperature", temperature)
        check_fraction("threshold", threshold)
        self.temperature = temperature
        self.threshold = threshold

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, *, target: Tensor) -> Tensor:
        return mft_loss(student_logits, teacher_logits, target, self.temperature, self.threshold)

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}, threshold={self.threshold}"
