"""Temperatures that may follow a run's progress."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from lightning_distill.checks import check_positive

Temperature: TypeAlias = float | Callable[[float], float]


def temperature_at(temperature: Temperature, progress: float) -> float:
    """The number at ``progress`` in [0, 1]: the temperature itself, or what the schedule gives.

    Example:
        >>> temperature_at(4.0, 0.5), temperature_at(lambda progress: 1.0 + 2.0 * progress, 0.5)
        (4.0, 2.0)
    """
    return temperature(progress) if callable(temperature) else temperature


def check_temperature(temperature: Temperature) -> None:
    """Raise unless the temperature, or both ends of its schedule, are above 0.

    Raises:
        ValueError: If they are not.

    Example:
        >>> check_temperature(0.0)
        Traceback (most recent call last):
        ...
        ValueError: Expected `temperature` to be above 0, but got 0.0.
    """
    for progress in (0.0, 1.0):
        check_positive("temperature", temperature_at(temperature, progress))
