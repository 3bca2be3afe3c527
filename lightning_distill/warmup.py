"""A learning rate that rises and then falls by half a cosine (https://arxiv.org/abs/1608.03983), as DeiT's does."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.optim.lr_scheduler import LambdaLR

from lightning_distill.checks import check_fraction


@dataclass(frozen=True)
class WarmupCosine:
    """Factor of the learning rate in an epoch.

    Attributes:
        max_epochs: Length of the run.
        warmup_epochs: Epochs of the rise, which is linear; a shorter run only rises.
        start_factor: In the first epoch, in [0, 1].
        end_factor: What the cosine approaches, in [0, 1].

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> factor = WarmupCosine(max_epochs=10, warmup_epochs=2, start_factor=0.1)
        >>> [round(factor(epoch), 4) for epoch in (0, 1, 2, 6, 9)]
        [0.1, 0.55, 1.0, 0.5, 0.0381]
    """

    max_epochs: int
    warmup_epochs: int = 5
    start_factor: float = 0.002
    end_factor: float = 0.0

    def __post_init__(self) -> None:
        for name, value, least in (("max_epochs", self.max_epochs, 1), ("warmup_epochs", self.warmup_epochs, 0)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"Expected `{name}` to be a whole number of at least {least}, but got {value!r}.")
        check_fraction("start_factor", self.start_factor)
        check_fraction("end_factor", self.end_factor)

    def __call__(self, epoch: int) -> float:
        if epoch < self.warmup_epochs:
            return self.start_factor + (1 - self.start_factor) * epoch / self.warmup_epochs
        progress = min(1.0, (epoch - self.warmup_epochs) / max(1, self.max_epochs - self.warmup_epochs))
        return self.end_factor + (1 - self.end_factor) * (1 + math.cos(math.pi * progress)) / 2


def warmup_cosine(
    optimizer: torch.optim.Optimizer,
    max_epochs: int,
    warmup_epochs: int = 5,
    start_factor: float = 0.002,
    end_factor: float = 0.0,
) -> LambdaLR:
    """A scheduler that follows :class:`WarmupCosine`, stepped once per epoch.

    Args:
        optimizer: Groups with rates of their own keep their proportions.
        max_epochs: See :class:`WarmupCosine`, as for the rest.
        warmup_epochs: Epochs of the rise.
        start_factor: In the first epoch.
        end_factor: What the cosine approaches.
    """
    return LambdaLR(optimizer, WarmupCosine(max_epochs, warmup_epochs, start_factor, end_factor))
