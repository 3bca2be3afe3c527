"""Choose samples so that every class keeps its share."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lightning_distill.data.labels import NO_LABEL


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


def take_split(name: str, target: Tensor, size: int | None, seed: int) -> tuple[Tensor, Tensor]:
    """Positions that stay for training, and those of a validation or test split that is taken from it.

    Args:
        name: ``"val"`` or ``"test"``.
        target: Labels ``[N, ...]``; class indices keep their shares, and samples without one (-100) stay.
        size: Of the split; a tenth of the labelled samples if not given.
        seed: Not below 0.

    Raises:
        ValueError: If there are too few samples to have each class in both parts.

    Example:
        >>> kept, chosen = take_split("val", torch.tensor([0, 1, 0, 1, -100]), 2, seed=0)
        >>> len(kept), sorted(torch.tensor([0, 1, 0, 1, -100])[chosen].tolist())
        (3, [0, 1])
    """
    one_label = target.ndim == 1 and not target.is_floating_point()
    usable = torch.nonzero(target.ne(NO_LABEL)).flatten() if one_label else torch.arange(len(target))
    # Where there are no classes, all samples count as one.
    labels = target[usable] if one_label else torch.zeros(len(usable), dtype=torch.long)
    classes = len(torch.unique(labels))
    size = max(len(usable) // 10, classes) if size is None else size
    if not 0 < classes <= size <= len(usable) - classes:
        raise ValueError(
            f"Expected enough labelled training samples to take the `{name}` split from, with each class in both, but "
            f"got {len(usable)} of {classes} classes, and `{name}_samples` = {size}. Add a `{name}` split."
        )
    chosen = usable[stratified_choice(labels, size, (seed, ("test", "val").index(name)))]
    kept = torch.ones(len(target), dtype=torch.bool)
    kept[chosen] = False
    return torch.nonzero(kept).flatten(), chosen


def _shares(counts: np.ndarray, size: int) -> np.ndarray:
    """``size`` split over the classes in proportion to ``counts``: the largest remainders are rounded up."""
    exact = counts * (size / counts.sum())
    shares = np.maximum(np.floor(exact).astype(int), 1)
    while shares.sum() > size:  # rare classes were lifted to 1: the ones furthest above their share give way
        shares[np.where(shares > 1, shares - exact, -np.inf).argmax()] -= 1
    while shares.sum() < size:
        shares[np.where(shares < counts, exact - shares, -np.inf).argmax()] += 1
    return np.asarray(shares)
