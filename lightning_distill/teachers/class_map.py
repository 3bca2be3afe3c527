"""A teacher's classes as the student's: some of them, in another order, or several as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_distill.checks import at_least_fp32

DROPPED = -1
SHOWN = 5


class ClassMap:
    """Logits over the teacher's classes as logits over the student's.

    Where every student class stands for one teacher class, these are the teacher's own logits, picked and reordered,
    bit for bit. Where it stands for several, its logit is the log of the sum of their exponentials: the softmax of the
    result is what the teacher's probabilities add up to, with those of dropped classes shared out in proportion.
    That is so at temperature 1: a loss that softens the result softens the student's classes, not the teacher's.

    Args:
        mapping: For every teacher class the student class that it belongs to, -1 for none (a list or a tensor); or the
            other way round, a mapping from each student class to its teacher class or classes.
        class_dim: The dimension that holds the classes: 1 for images and maps, -1 for sequences ``[B, T, C]``.
        multi_label: The outputs are yes-or-no questions of their own (sigmoids): of several the highest counts, since
            a label is there when one of its parts is.

    Raises:
        ValueError: If a student class has no teacher class, or a number is out of range.

    Example:
        >>> logits = torch.tensor([[1.0, 2.0, 3.0]]).log()
        >>> ClassMap([0, 1, 1])(logits).exp().round(), ClassMap({0: 2, 1: 0})(logits).exp().round()
        (tensor([[1., 5.]]), tensor([[3., 1.]]))
    """

    def __init__(self, mapping: Any, class_dim: int = 1, multi_label: bool = False) -> None:
        groups = _from_mapping(mapping) if isinstance(mapping, Mapping) else _from_list(mapping)
        # Known from a list alone; a mapping does not tell how many classes are left out.
        self.teacher_classes = None if isinstance(mapping, Mapping) else len(mapping)
        self.groups = groups
        self.class_dim = class_dim
        self.multi_label = multi_label
        self._highest = max(max(group) for group in groups)
        self._indices: dict[torch.device, tuple[Tensor, Tensor | None]] = {}

    def __call__(self, logits: Tensor) -> Tensor:
        """``[B, K, ...]`` for ``[B, C, ...]``; in the precision of ``logits``, but sums never below float32.

        Raises:
            ValueError: If the teacher has another number of classes.
        """
        self._check(logits)
        index, empty = self._on(logits.device)
        picked = logits.index_select(self.class_dim, index)
        if empty is None:
            return picked
        dim = self.class_dim % logits.dim()
        shape = picked.shape
        groups = at_least_fp32(picked).reshape(*shape[:dim], *empty.shape, *shape[dim + 1 :])
        groups = groups.masked_fill(empty.view(*empty.shape, *[1] * (len(shape) - dim - 1)), float("-inf"))
        return groups.amax(dim + 1) if self.multi_label else groups.logsumexp(dim + 1)

    def _check(self, logits: Tensor) -> None:
        classes = logits.shape[self.class_dim] if -logits.dim() <= self.class_dim < logits.dim() else 0
        if self.teacher_classes is not None and classes != self.teacher_classes:
            raise ValueError(
                f"Expected `class_map` to have one entry for each of the teacher's {classes} classes, but got "
                f"{self.teacher_classes}. The teacher's output is {list(logits.shape)}, with the classes in dimension "
                f"{self.class_dim} (`class_dim`)."
            )
        if self._highest >= classes:
            raise ValueError(
                f"Expected `class_map` to name teacher classes below {classes}, but got {self._highest}. The teacher's "
                f"output is {list(logits.shape)}, with the classes in dimension {self.class_dim} (`class_dim`)."
            )

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """Teacher classes by student class, padded to equal length ``[K * longest]``, and what is padding of it."""
        if device not in self._indices:
            longest = max(map(len, self.groups))
            padded = [group + (group[0],) * (longest - len(group)) for group in self.groups]
            empty = [[place >= len(group) for place in range(longest)] for group in self.groups]
            index = torch.tensor(padded, device=device).flatten()
            self._indices[device] = index, None if longest == 1 else torch.tensor(empty, device=device)
        return self._indices[device]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_indices": {}}


def _from_list(mapping: Any) -> tuple[tuple[int, ...], ...]:
    """Groups out of one student class per teacher class."""
    if isinstance(mapping, Tensor):
        mapping = mapping.tolist()
    if not isinstance(mapping, Sequence) or isinstance(mapping, str) or not all(type(v) is int for v in mapping):
        raise ValueError(
            "Expected `class_map` to be a list with the student class of every teacher class (-1: dropped), or a "
            f"mapping from student classes to teacher classes, but got {mapping!r}."
        )
    low = min(mapping, default=0)
    if low < DROPPED:
        raise ValueError(f"Expected `class_map` to hold student classes, or -1 for a dropped one, but got {low}.")
    groups: list[list[int]] = [[] for _ in range(max(mapping, default=-1) + 1)]
    for teacher, student in enumerate(mapping):
        if student != DROPPED:
            groups[student].append(teacher)
    return _complete(groups)


def _from_mapping(mapping: Mapping[Any, Any]) -> tuple[tuple[int, ...], ...]:
    """Groups out of the teacher classes of each student class."""
    listed = {key: list(value) if isinstance(value, Sequence) else [value] for key, value in mapping.items()}
    numbers = [*listed, *(value for values in listed.values() for value in values)]
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError(f"Expected `class_map` to map student classes to teacher classes, but got {dict(mapping)!r}.")
    twice = sorted({number for number in numbers[len(listed) :] if numbers[len(listed) :].count(number) > 1})
    if twice:
        raise ValueError(f"Expected `class_map` to use each teacher class once, but got {_some(twice)} more than once.")
    return _complete([listed.get(student, []) for student in range(max(listed, default=-1) + 1)])


def _complete(groups: list[list[int]]) -> tuple[tuple[int, ...], ...]:
    missing = [student for student, group in enumerate(groups) if not group]
    if missing or not groups:
        what = f"but got none for {_some(missing)}" if groups else "but got no classes at all"
        raise ValueError(
            f"Expected `class_map` to give every student class a teacher class, {what}. The teacher can say nothing "
            "about a class that it does not know: leave that class out of the student, or choose another teacher."
        )
    return tuple(map(tuple, groups))


def _some(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:SHOWN])) + (", ..." if len(numbers) > SHOWN else "")
