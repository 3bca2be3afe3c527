"""Cross-entropy for classes of unequal size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


def class_weighted_cross_entropy(class_weights: Sequence[float], label_smoothing: float = 0.0) -> nn.CrossEntropyLoss:
    """torch's own, from plain numbers, which a config can hold.

    The result is the weighted mean over the labelled samples of a batch.

    Args:
        class_weights: One for each class, not below 0 and not all 0; data modules know them as ``class_weights``.
        label_smoothing: In [0, 1].

    Raises:
        ValueError: If a weight is below 0, or all are 0.

    Example:
        >>> loss = class_weighted_cross_entropy([0.5, 1.5])
        >>> loss(torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1]))  # (0.5 * 0.1269 + 1.5 * 2.1269) / 2
        tensor(1.6269)
    """
    weights = torch.tensor(class_weights, dtype=torch.float32)
    if weights.ndim != 1 or bool((weights < 0).any()) or not bool(weights.sum() > 0):
        raise ValueError(
            f"Expected `class_weights` to hold one number of at least 0 for each class, not all 0, but got "
            f"{class_weights!r}. Data modules know them as `class_weights`."
        )
    return nn.CrossEntropyLoss(weight=weights, label_smoothing=label_smoothing)
