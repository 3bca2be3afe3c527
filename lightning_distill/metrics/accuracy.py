"""Top-k accuracy by two counters."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_distill.checks import check_positive


class Accuracy(Metric):
    """Share of samples whose label is among the ``top_k`` highest logits; samples without a label do not count.

    It is ``torchmetrics.classification.MulticlassAccuracy(average="micro")`` for any number of classes, reduced to two
    counters: an update takes a few operations on the logits and never waits for the device.

    Args:
        top_k: Above 0.
        ignore_index: The label of samples that do not count: none at all, or a pixel's border.

    Example:
        >>> accuracy = Accuracy()
        >>> accuracy(torch.eye(3), torch.tensor([0, 2, -100]))
        tensor(0.5000)
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False
    correct: Tensor
    total: Tensor

    def __init__(self, top_k: int = 1, ignore_index: int = -100) -> None:
        super().__init__()
        check_positive("top_k", top_k)
        self.top_k, self.ignore_index = top_k, ignore_index
        self.add_state("correct", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("total", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch: logits ``[B, C, ...]`` and class indices ``[B, ...]``.

        Raises:
            ValueError: If the labels are not shaped as the logits without their classes.
        """
        if preds.shape[:1] + preds.shape[2:] != target.shape:
            raise ValueError(
                f"Expected `target` to be shaped as the logits {list(preds.shape)} without dimension 1, but got "
                f"{list(target.shape)}. Pass metrics of your own for outputs of another kind: metrics=..."
            )
        if self.top_k == 1:
            right = preds.argmax(dim=1) == target
        else:
            right = (preds.topk(self.top_k, dim=1).indices == target.unsqueeze(1)).any(dim=1)
        counts = target != self.ignore_index
        self.correct += (right & counts).sum()
        self.total += counts.sum()

    def compute(self) -> Tensor:
        """The share, in [0, 1]; NaN if nothing was counted."""
        return self.correct / self.total
