"""Checks of arguments, and the lift to a precision in which a loss is safe."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


def at_least_fp32(tensor: Tensor) -> Tensor:
    """Lift half precision to float32 and leave everything else alone: float64 is never lowered.

    Example:
        >>> at_least_fp32(torch.ones(1, dtype=torch.bfloat16)).dtype, at_least_fp32(torch.ones(1).double()).dtype
        (torch.float32, torch.float64)
    """
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def check_same_shape(**tensors: Tensor) -> None:
    """Raise if the named tensors differ in shape, naming each.

    Raises:
        ValueError: If they differ.

    Example:
        >>> check_same_shape(student_logits=torch.zeros(2, 3), teacher_logits=torch.zeros(2, 4))
        Traceback (most recent call last):
        ...
        ValueError: Expected `student_logits` and `teacher_logits` to have the same shape, but got [2, 3] and [2, 4].
    """
    first, *others = tensors.values()
    if any(other.shape != first.shape for other in others):
        shapes = [list(t.shape) for t in tensors.values()]
        names = " and ".join(f"`{name}`" for name in tensors)
        raise ValueError(
            f"Expected {names} to have the same shape, but got {' and '.join(str(shape) for shape in shapes)}."
        )


def check_positive(name: str, value: float) -> None:
    """Raise unless ``value`` is a finite number above 0.

    Raises:
        ValueError: If it is not.

    Example:
        >>> check_positive("temperature", -1.0)
        Traceback (most recent call last):
        ...
        ValueError: Expected `temperature` to be above 0, but got -1.0.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise ValueError(f"Expected `{name}` to be above 0, but got {value!r}.")


def check_fraction(name: str, value: float) -> None:
    """Raise unless ``value`` is a number in [0, 1].

    Raises:
        ValueError: If it is not.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ValueError(f"Expected `{name}` to be in [0, 1], but got {value!r}.")


def check_choice(name: str, value: Any, choices: Iterable[Any]) -> None:
    """Raise unless ``value`` is one of ``choices``, naming the nearest.

    Raises:
        ValueError: If it is not.

    Example:
        >>> check_choice("distillation_type", "sofft", ("soft", "hard"))
        Traceback (most recent call last):
        ...
        ValueError: Expected `distillation_type` to be one of 'soft', 'hard', but got 'sofft'. Did you mean 'soft'?
    """
    options = tuple(choices)
    if value in options:
        return
    near = difflib.get_close_matches(str(value), [str(option) for option in options], n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"Expected `{name}` to be one of {', '.join(map(repr, options))}, but got {value!r}.{hint}")


def check_class_indices(name: str, target: Tensor, logits: Tensor, way_out: str = "") -> None:
    """Raise unless ``target`` holds integer class indices shaped as ``logits`` without the class dimension.

    The range of the values is not checked: that would read the device in every step.

    Raises:
        ValueError: If dtype or shape do not fit.
    """
    expected = [logits.shape[0], *logits.shape[2:]]
    if target.dtype.is_floating_point or target.dtype == torch.bool or list(target.shape) != expected:
        raise ValueError(
            f"Expected `{name}` to hold integer class indices of shape {expected}, but got {target.dtype} of shape "
            f"{list(target.shape)}.{' ' + way_out if way_out else ''}"
        )
