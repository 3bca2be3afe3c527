"""The classic distiller: one output, two losses (Hinton et al., 2015, https://arxiv.org/abs/1503.02531)."""

from __future__ import annotations

from typing import Any

from torch import nn

from lightning_distill.distillers.base import BaseDistiller, StudentOutputs
from lightning_distill.distillers.deployable import LogitsOnly
from lightning_distill.types import as_logits, call_model


class Distiller(BaseDistiller):
    """Trains a student on the labels and on what a frozen teacher says about the same batch.

    ``total = alpha * student_loss + (1 - alpha) * distillation_loss + sum of weight_i * term_i``

    See :class:`~lightning_distill.distillers.base.BaseDistiller` for the arguments. Without ``distillation_loss`` it is
    ``KLDistillationLoss(temperature=3.0)``, or what fits the student loss where that is one of labels or of values.

    Example:
        >>> import torch
        >>> distiller = Distiller(nn.Identity(), nn.Identity(), alpha=0.1)
        >>> losses = distiller.compute_losses((torch.eye(2), torch.tensor([0, 1])))
        >>> {name: round(loss.item(), 4) for name, loss in losses.items()}
        {'student_loss': 0.3133, 'distillation_loss': 0.0}
    """

    def read_student(self, inputs: Any) -> StudentOutputs:
        logits = as_logits(call_model(self.student, inputs), "student")
        return StudentOutputs(deployed=logits, class_logits=logits, distillation_logits=logits)

    def deployable(self) -> nn.Module:
        return LogitsOnly(self.student)
