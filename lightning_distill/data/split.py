"""Choose samples so that every class keeps its share."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def stratified_choice(target: Tensor, size: int, seed: int | tuple[int, ...]) -> Tensor:
    """Positions ``[size]`` of a random choice in which every class keeps its share, in rising order.

    A class's count is its exact share rounded up or down, and at least 1.

    Args:
        target: Class indices ``[N]``.
        size: From the number of classes that occur to N.
        seed: Not below 0. The same numbers give the same choice, whatever was drawn before.

    Raises:
        ValueError: If ``size`` is out of range.

    Example:
        >>> target = torch.tensor([0, 0, 0, 0, 1, 1])
        >>> target[stratified_choice(target, 3, seed=0)]
        tensor([0, 0, 1])
    """
    labels = target.cpu().numpy()
    classes, counts = np.unique(labels, return_counts=True)
    if not len(classes) <= size <= len(labels):
        raise ValueError(
            f"Expected `size` to be from {len(classes)} (one sample per class) to {len(labels)} (all samples), "
            f"but got {size}."
        )
    generator = np.random.default_rng(seed)
    chosen = [
        generator.permutation(np.flatnonzero(labels == label))[:count]
        for label, count in zip(classes, _shares(counts, size), strict=True)
    ]
    return torch.from_numpy(np.sort(np.concatenate(chosen)))


def _shares(counts: np.ndarray, size: int) -> np.ndarray:
    """``size`` split over the classes in proportion to ``counts``: the largest remainders are rounded up."""
    exact = counts * (size / counts.sum())
    shares = np.maximum(np.floor(exact).astype(int), 1)
    while shares.sum() > size:  # rare classes were lifted to 1: the ones furthest above their share give way
        shares[np.where(shares > 1, shares - exact, -np.inf).argmax()] -= 1
    while shares.sum() < size:
        shares[np.where(shares < counts, exact - shares, -np.inf).argmax()] += 1
    return np.asarray(shares)
