"""Losses that cannot be trained on the probabilities that mixing makes of labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

import lightning_distill.losses as losses
from lightning_distill.distillers.needs import loss_needs
from lightning_distill.distillers.term_loss import FunctionLoss, losses_for_soft_targets

# Of torch's own: their target is a class index.
CLASS_INDEX_LOSSES = (nn.NLLLoss, nn.MultiMarginLoss, nn.MultiLabelMarginLoss)


def check_soft_labels(student_loss: Any, others: Mapping[str, Any]) -> None:
    """Raise if a loss reads labels as class indices.

    A loss from elsewhere is left to judge for itself.

    Args:
        student_loss: ``(logits, target) -> scalar``.
        others: Losses that compare student and teacher, by name.

    Raises:
        ValueError: Names the loss, and those that take probabilities.

    Example:
        >>> check_soft_labels(nn.CrossEntropyLoss(), {"distillation_loss": losses.DKDLoss()})  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        ValueError: Expected `distillation_loss` to take probabilities as labels, since `mixing` is on, but DKDLoss ...
    """
    if isinstance(student_loss, CLASS_INDEX_LOSSES):
        raise ValueError(_message("student_loss", student_loss, "torch.nn.CrossEntropyLoss"))
    for name, loss in others.items():
        function = loss.function if isinstance(loss, FunctionLoss) else loss
        home = function.__module__ if hasattr(function, "__name__") else type(function).__module__
        own = str(home).startswith(losses.__name__)
        if own and "target" in loss_needs(function) and not getattr(function, "accepts_soft_targets", False):
            raise ValueError(_message(name, function, ", ".join(losses_for_soft_targets())))


def _message(name: str, loss: Any, others: str) -> str:
    kind = getattr(loss, "__name__", type(loss).__name__)
    return (
        f"Expected `{name}` to take probabilities as labels, since `mixing` is on, but {kind} reads class indices. "
        f"Switch mixing off, or use one of {others}."
    )
