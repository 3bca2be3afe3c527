"""What the numbers of one run say, and what they cannot say."""

from __future__ import annotations

import math
from collections.abc import Mapping

from lightning_distill.report.folder import Scalar


def difference_error(first: float, second: float, samples: int) -> float:
    """Binomial standard error of the difference of two accuracies, each measured on ``samples`` samples.

    Example:
        >>> round(difference_error(0.8, 0.9, 100), 3)
        0.05
    """
    return math.sqrt((first * (1 - first) + second * (1 - second)) / samples)


def verdict(student: float, baseline: float | None, samples: int) -> str:
    """One honest sentence or two on a run's result.

    Args:
        student: Test accuracy of the distilled student, in [0, 1].
        baseline: Test accuracy of the same student trained alone; ``None`` if there was none.
        samples: Test samples behind each number.

    Example:
        >>> print(verdict(0.85, 0.80, samples=400))
        Distilled 85.0 %, alone 80.0 %: +5.0 points on 400 test samples (standard error 2.7).
        One run with one seed is no evidence; compare several: -m seed=0,1,2,3,4
    """
    if baseline is None:
        return f"{100 * student:.1f} % on {samples} test samples. There is no baseline to compare with: baseline=true"
    points = 100 * (student - baseline)
    error = 100 * difference_error(student, baseline, samples)
    return (
        f"Distilled {100 * student:.1f} %, alone {100 * baseline:.1f} %: {points:+.1f} points on {samples} test "
        f"samples (standard error {error:.1f}).\n"
        "One run with one seed is no evidence; compare several: -m seed=0,1,2,3,4"
    )


def verdict_of(metrics: Mapping[str, Mapping[str, Scalar]]) -> str:
    """:func:`verdict` for what ``metrics.json`` holds."""
    student, baseline = (_accuracy(metrics, role) for role in ("student", "baseline"))
    samples = metrics.get("run", {}).get("test_samples")
    if student is None or not isinstance(samples, int):
        return "There is no accuracy to compare."
    return verdict(student, baseline, samples)


def gain_of(metrics: Mapping[str, Mapping[str, Scalar]]) -> dict[str, Scalar]:
    """The distilled student's ``gain`` in test accuracy and its ``gain_standard_error``, where both are known."""
    student, baseline = (_accuracy(metrics, role) for role in ("student", "baseline"))
    samples = metrics.get("run", {}).get("test_samples")
    if student is None or baseline is None or not isinstance(samples, int):
        return {}
    return {"gain": student - baseline, "gain_standard_error": difference_error(student, baseline, samples)}


def _accuracy(metrics: Mapping[str, Mapping[str, Scalar]], role: str) -> float | None:
    value = metrics.get(role, {}).get("test/accuracy")
    return float(value) if isinstance(value, (int, float)) else None
