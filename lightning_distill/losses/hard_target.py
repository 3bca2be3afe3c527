"""Hard targets: the teacher's decision as the label (Touvron et al., 2021, https://arxiv.org/abs/2012.12877)."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_distill.checks import at_least_fp32, check_choice, check_fraction, check_same_shape

HardTargets = Literal["argmax", "softmax"]
TARGETS: tuple[HardTargets, ...] = ("argmax", "softmax")


def hard_distillation_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    label_smoothing: float = 0.1,
    targets: HardTargets = "argmax",
    class_dim: int = 1,
) -> Tensor:
    """Cross-entropy of the student against the teacher's decision: a mean over samples.

    Args:
        student_logits: ``[B, C, ...]``; the only input that receives a gradient.
        teacher_logits: Same shape.
        label_smoothing: In [0, 1]: the share of the target that is spread evenly over all classes.
        targets: ``"argmax"``, the class that the teacher would choose, or ``"softmax"``, the teacher's probabilities
            as a dense target (what the Keras original computes under the name "hard").
        class_dim: The dimension that holds the classes.

    Returns:
        Scalar, in the inputs' precision but never below float32.

    Raises:
        ValueError: If the shapes differ, or ``label_smoothing`` or ``targets`` is out of range.

    Example:
        >>> import torch
        >>> hard_distillation_loss(torch.eye(3), torch.eye(3).flip(0), label_smoothing=0.0)
        tensor(1.2181)
    """
    check_same_shape(student_logits=student_logits, teacher_logits=teacher_logits)
    check_fraction("label_smoothing", label_smoothing)
    check_choice("targets", targets, TARGETS)
    student_logits = at_least_fp32(student_logits).movedim(class_dim, 1)
    teacher_logits = at_least_fp32(teacher_logits.detach()).movedim(class_dim, 1)
    target = teacher_logits.argmax(dim=1) if targets == "argmax" else teacher_logits.softmax(dim=1)
    return F.cross_entropy(student_logits, target, label_smoothing=label_smoothing)


class HardDistillationLoss(nn.Module):
    """Module form of :func:`hard_distillation_loss`.

    Example:
        >>> import torch
        >>> HardDistillationLoss(label_smoothing=0.0)(torch.eye(3), torch.eye(3).flip(0))
        tensor(1.2181)
    """

    def __init__(self, label_smoothing: float = 0.1, targets: HardTargets = "argmax", class_dim: int = 1) -> None:
        super().__init__()
        check_fraction("label_smoothing", label_smoothing)
        check_choice("targets", targets, TARGETS)
        self.label_smoothing = label_smoothing
        self.targets: HardTargets = targets
        self.class_dim = class_dim

    def forward(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        return hard_distillation_loss(
            student_logits, teacher_logits, self.label_smoothing, self.targets, self.class_dim
        )

    def extra_repr(self) -> str:
        return f"label_smoothing={self.label_smoothing}, targets={self.targets!r}, class_dim={self.class_dim}"
