"""Labels that a classifier can be trained on."""

from __future__ import annotations

import torch
from torch import Tensor

NO_LABEL = -100
"""The target of a sample without a label: what cross-entropy ignores."""


def check_labels(name: str, target: Tensor, num_classes: int) -> None:
    """Raise unless integer labels are classes.

    Probabilities and several labels per sample, ``[N, num_classes]`` floats, and a single output's values are left to
    the losses.

    Args:
        name: What an error message calls the samples.
        target: ``[N]`` or ``[N, ...]`` integers from 0 to ``num_classes - 1``; -100 where there is no label.
        num_classes: Number of classes.

    Raises:
        ValueError: If a label is out of range, or a class index is no integer.

    Example:
        >>> check_labels("train", torch.tensor([0, 1, 3]), num_classes=3)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        ValueError: Expected the labels of `train` to be from 0 to 2, but position 2 has 3. Count classes from 0...
    """
    if target.is_floating_point() or target.is_complex():
        if target.ndim == 1 and num_classes > 1:
            raise ValueError(
                f"Expected the labels of `{name}` to be integers, but got {target.dtype} of shape "
                f"{list(target.shape)}. Convert class indices with `.long()`; values to predict need `num_classes=1`."
            )
        return
    if target.dtype == torch.bool:
        return
    wrong = (target != NO_LABEL) & ((target < 0) | (target >= num_classes))
    if bool(wrong.any()):
        where = int(torch.nonzero(wrong)[0, 0])
        label = int(target[wrong][0])
        fix = f"set `num_classes` to {int(target.max()) + 1}, " if label >= num_classes else ""
        raise ValueError(
            f"Expected the labels of `{name}` to be from 0 to {num_classes - 1}, but position {where} has {label}. "
            f"Count classes from 0, {fix}or mark samples without a label by {NO_LABEL}."
        )
