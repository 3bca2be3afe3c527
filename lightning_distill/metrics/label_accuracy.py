"""Accuracy of yes-or-no decisions by two counters."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_distill.checks import check_same_shape


class LabelAccuracy(Metric):
    """Share of yes-or-no decisions that are right, over samples and labels: for outputs that are sigmoids' logits.

    A logit above 0 is a yes; so is a target above 0.5. It never has to guess from a batch's range whether it was given
    logits or probabilities.

    Example:
        >>> accuracy = LabelAccuracy()
        >>> accuracy(torch.tensor([[2.0, -1.0], [0.3, 0.2]]), torch.tensor([[1, 0], [1, 0]]))
        tensor(0.7500)
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False
    correct: Tensor
    total: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("correct", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("total", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch: logits and targets in [0, 1], ``[B, C, ...]`` each.

        Raises:
            ValueError: If the shapes differ.
        """
        check_same_shape(preds=preds, target=target)
        self.correct += ((preds > 0) == (target > 0.5)).sum()
        self.total += target.numel()

    def compute(self) -> Tensor:
        """The share, in [0, 1]; NaN if nothing was counted."""
        return self.correct / self.total
