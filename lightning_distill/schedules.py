"""Weights and temperatures that change: functions of a run's progress from 0 to 1."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from lightning_distill.checks import check_fraction, check_positive


class Schedule(ABC):
    """A function of progress: 0 at the first optimizer step, 1 at the end of the run."""

    @abstractmethod
    def __call__(self, progress: float) -> float:
        """The value at ``progress`` in [0, 1]."""


@dataclass(frozen=True)
class Constant(Schedule):
    """The same value throughout.

    Example:
        >>> Constant(0.5)(0.9)
        0.5
    """

    value: float

    def __post_init__(self) -> None:
        _check_numbers(value=self.value)

    def __call__(self, progress: float) -> float:
        return self.value


@dataclass(frozen=True)
class LinearWarmup(Schedule):
    """From ``start`` to ``end`` in a straight line over the first ``warmup`` of the run, then ``end``.

    Example:
        >>> schedule = LinearWarmup(end=8.0, warmup=0.2)
        >>> schedule(0.1), schedule(0.7)
        (4.0, 8.0)
    """

    start: float = 0.0
    end: float = 1.0
    warmup: float = 0.1

    def __post_init__(self) -> None:
        _check_numbers(start=self.start, end=self.end)
        check_fraction("warmup", self.warmup)

    def __call__(self, progress: float) -> float:
        share = 1.0 if progress >= self.warmup else progress / self.warmup
        return self.start + (self.end - self.start) * share


@dataclass(frozen=True)
class Cosine(Schedule):
    """From ``start`` to ``end`` along half a cosine.

    Example:
        >>> Cosine(start=1.0, end=0.0)(0.5)
        0.5
    """

    start: float
    end: float

    def __post_init__(self) -> None:
        _check_numbers(start=self.start, end=self.end)

    def __call__(self, progress: float) -> float:
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * progress)) / 2


@dataclass(frozen=True)
class Step(Schedule):
    """``values[i]`` from the i-th of ``milestones`` on; one value more than milestones.

    Example:
        >>> schedule = Step(values=[1.0, 0.1], milestones=[0.5])
        >>> schedule(0.49), schedule(0.5)
        (1.0, 0.1)
    """

    values: Sequence[float]
    milestones: Sequence[float]

    def __post_init__(self) -> None:
        if len(self.values) != len(self.milestones) + 1:
            raise ValueError(
                f"Expected `values` to have one entry more than `milestones`, but got {len(self.values)} and "
                f"{len(self.milestones)}."
            )
        if list(self.milestones) != sorted(self.milestones):
            raise ValueError(f"Expected `milestones` to rise, but got {list(self.milestones)}.")
        _check_numbers(**{f"values[{i}]": value for i, value in enumerate(self.values)})
        for milestone in self.milestones:
            check_fraction("milestones", milestone)

    def __call__(self, progress: float) -> float:
        return self.values[bisect_right(list(self.milestones), progress)]


@dataclass(frozen=True)
class Exponential(Schedule):
    """From ``start`` to ``end`` by a constant factor.

    Example:
        >>> round(Exponential(start=1.0, end=0.01)(0.5), 6)
        0.1
    """

    start: float
    end: float

    def __post_init__(self) -> None:
        check_positive("start", self.start)
        check_positive("end", self.end)

    def __call__(self, progress: float) -> float:
        return float(self.start * (self.end / self.start) ** progress)


def _check_numbers(**values: float) -> None:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ValueError(f"Expected `{name}` to be a finite number, but got {value!r}.")


def is_scheduled(value: float | Schedule) -> bool:
    """Whether ``value`` is a schedule rather than a number."""
    return isinstance(value, Schedule)


def value_at(value: float | Schedule, progress: float) -> float:
    """A number as it is, a schedule's value at ``progress``.

    Example:
        >>> value_at(2.0, 0.5), value_at(Cosine(0.0, 2.0), 0.5)
        (2.0, 1.0)
    """
    return value(progress) if isinstance(value, Schedule) else value
