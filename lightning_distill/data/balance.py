"""Classes of unequal size: show the rare ones more often, or weigh them higher."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lightning_distill.checks import check_choice
from lightning_distill.data.labels import NO_LABEL

# A class is shown in proportion to its count to this power.
POWERS = {"balanced": 0.0, "sqrt": 0.5}


class BalancedDraw:
    """As many positions as there are samples, of each class in proportion to a power of its count.

    Within a class every sample comes up equally often, give or take one: no sample is left to chance. Samples without
    a label (-100) keep their share.

    Args:
        target: Class indices ``[N]``.
        sampler: ``"balanced"`` for equally many of each class, ``"sqrt"`` for the square root of its count.

    Raises:
        ValueError: If ``sampler`` is neither, or ``target`` holds no class indices.

    Example:
        >>> target = torch.tensor([0, 0, 0, 0, 0, 1])
        >>> torch.bincount(target[BalancedDraw(target, "balanced")(np.random.default_rng(0))])
        tensor([3, 3])
    """

    def __init__(self, target: Tensor | None, sampler: str) -> None:
        check_choice("sampler", sampler, POWERS)
        labels = _class_indices("sampler", target).cpu().numpy()
        classes, self.counts = np.unique(labels, return_counts=True)
        self.rows = [np.flatnonzero(labels == label) for label in classes]
        labelled = classes != NO_LABEL
        weights = np.where(labelled, self.counts.astype(float) ** POWERS[sampler], 0.0)
        of_labelled = self.counts[labelled].sum() / max(weights.sum(), 1.0)
        self.expected = np.where(labelled, weights * of_labelled, self.counts)

    def __call__(self, generator: np.random.Generator) -> np.ndarray:
        """Positions ``[N]`` in random order."""
        # A class's count is its expected one rounded up or down at random, so that no class is always rounded down.
        edges = np.floor(np.concatenate([[0.0], np.cumsum(self.expected)]) + generator.random())
        sizes = np.diff(edges).astype(int)
        chosen = [_passes(rows, size, generator) for rows, size in zip(self.rows, sizes, strict=True)]
        return np.asarray(generator.permutation(np.concatenate(chosen)))


def _passes(rows: np.ndarray, size: int, generator: np.random.Generator) -> np.ndarray:
    """``size`` of the rows: each as often as the others, in whole passes and a part of one."""
    whole, rest = divmod(size, len(rows))
    return np.concatenate([np.tile(rows, whole), generator.permutation(rows)[:rest]])


def class_weights(target: Tensor | None, num_classes: int) -> list[float]:
    """One weight per class, inversely proportional to its count, with a mean of 1 over the classes that occur.

    Args:
        target: Class indices ``[N]``; -100 does not count.
        num_classes: Number of weights. A class without samples has weight 0.

    Raises:
        ValueError: If ``target`` holds no class indices.

    Example:
        >>> class_weights(torch.tensor([0, 0, 0, 1]), num_classes=2)
        [0.5, 1.5]
    """
    labels = _class_indices("class_weights", target)
    counts = torch.bincount(labels[labels != NO_LABEL], minlength=num_classes).double()
    inverse = torch.where(counts > 0, 1 / counts.clamp(min=1), 0.0)
    weights: list[float] = (inverse * (counts > 0).sum() / inverse.sum()).tolist()
    return weights


def _class_indices(name: str, target: Tensor | None) -> Tensor:
    if target is None or target.ndim != 1 or target.is_floating_point() or bool((target == NO_LABEL).all()):
        got = "none" if target is None else f"{target.dtype} of shape {list(target.shape)}"
        raise ValueError(
            f"Expected the training samples to have class indices [N] as labels for `{name}`, but got {got}. Leave "
            f"`{name}` out, or label them."
        )
    return target
