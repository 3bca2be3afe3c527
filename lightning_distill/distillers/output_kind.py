"""What outputs mean, as the student loss tells: one class out of several, labels that may hold or not, or values."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from lightning_distill.losses import KLDistillationLoss, MSELogitsLoss, SoftTargetBCELoss

OutputKind = Literal["classes", "labels", "values"]
OF_LABELS = (nn.BCEWithLogitsLoss, nn.MultiLabelSoftMarginLoss)
OF_VALUES = (
    nn.MSELoss,
    nn.L1Loss,
    nn.SmoothL1Loss,
    nn.HuberLoss,
    nn.BCELoss,  # of probabilities
    nn.PoissonNLLLoss,
    nn.GaussianNLLLoss,
)


def output_kind(student_loss: Any) -> OutputKind:
    """``"classes"`` for a cross-entropy or a loss that is not known here, ``"labels"`` for sigmoids, else ``"values"``.

    Example:
        >>> output_kind(nn.BCEWithLogitsLoss()), output_kind(nn.HuberLoss()), output_kind(nn.CrossEntropyLoss())
        ('labels', 'values', 'classes')
    """
    if isinstance(student_loss, OF_LABELS):
        return "labels"
    return "values" if isinstance(student_loss, OF_VALUES) else "classes"


def distillation_loss_for(student_loss: Any) -> nn.Module:
    """The distillation loss that fits a student loss, where none is given.

    Soft targets at temperature 3 for classes, the teacher's sigmoids for labels, squared differences for values; the
    last two are means over all elements, as torch's own student losses are.

    Example:
        >>> distillation_loss_for(nn.MSELoss())
        MSELogitsLoss(center=False, reduction='mean')
    """
    kind = output_kind(student_loss)
    if kind == "labels":
        return SoftTargetBCELoss(reduction="mean")
    return MSELogitsLoss(reduction="mean") if kind == "values" else KLDistillationLoss(temperature=3.0)


def as_target(student_loss: Any, target: Tensor, logits: Tensor) -> Tensor:
    """``target`` in the precision of ``logits`` where ``student_loss`` compares numbers: labels may be whole ones.

    Example:
        >>> import torch
        >>> as_target(nn.BCEWithLogitsLoss(), torch.tensor([[1, 0]]), torch.zeros(1, 2))
        tensor([[1., 0.]])
    """
    if output_kind(student_loss) == "classes" or target.is_floating_point():
        return target
    return target.to(logits.dtype)
