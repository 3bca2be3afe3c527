"""What a few runs can tell: mean, interval, and a paired test over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from scipy import stats

Judgement = Literal["BEATS", "NO DIFFERENCE", "WORSE"]
LEVEL = 0.05
FEWEST = 3  # with two differences, the test has one degree of freedom: it would take a factor of 12.7


@dataclass(frozen=True)
class Estimate:
    """A mean over runs.

    Attributes:
        mean: Of the values.
        deviation: Their standard deviation; ``None`` for one value.
        low: Lower end of the 95 % confidence interval of the mean, by Student's t; ``None`` for one value.
        high: Upper end.
        count: How many.
    """

    mean: float
    deviation: float | None
    low: float | None
    high: float | None
    count: int


def estimate(values: Sequence[float]) -> Estimate:
    """Mean, standard deviation and 95 % confidence interval.

    Example:
        >>> found = estimate([0.90, 0.92, 0.94])
        >>> round(found.mean, 2), round(found.deviation, 2), round(found.low, 3), round(found.high, 3)
        (0.92, 0.02, 0.87, 0.97)
    """
    mean, count = statistics.fmean(values), len(values)
    if count < 2:
        return Estimate(mean, None, None, None, count)
    deviation = statistics.stdev(values)
    reach = float(stats.t.ppf(1 - LEVEL / 2, count - 1)) * deviation / math.sqrt(count)
    return Estimate(mean, deviation, mean - reach, mean + reach, count)


@dataclass(frozen=True)
class Comparison:
    """Student against baseline, seed by seed.

    Attributes:
        judgement: In one word or two.
        reason: In a sentence.
        difference: Student minus baseline, each pair with the same seed; ``None`` without pairs.
        p_value: Two-sided, of the paired t-test, already multiplied by the number of comparisons; ``None`` if there
            were too few pairs to test.
    """

    judgement: Judgement
    reason: str
    difference: Estimate | None = None
    p_value: float | None = None


def compare(student: Sequence[float], baseline: Sequence[float], comparisons: int = 1) -> Comparison:
    """Whether the student beats the baseline, by a paired t-test over seeds at the 5 % level.

    Args:
        student: Accuracies in [0, 1], one per seed.
        baseline: The same for the baseline, in the same order of seeds.
        comparisons: How many comparisons are made side by side; p-values are multiplied by it (Bonferroni), so that
            the chance of a false finding among all of them stays at 5 %.

    Example:
        >>> found = compare([0.84, 0.85, 0.83, 0.86], [0.80, 0.81, 0.80, 0.81])
        >>> found.judgement, round(found.p_value, 4)
        ('BEATS', 0.0023)
        >>> compare([0.9, 0.9], [0.8, 0.8]).judgement
        'NO DIFFERENCE'
    """
    differences = [own - alone for own, alone in zip(student, baseline, strict=True)]
    if not differences:
        return Comparison("NO DIFFERENCE", "there are no pairs of student and baseline to compare: baseline=true.")
    found = estimate(differences)
    seeds = f"{found.count} seed{'s' if found.count > 1 else ''}"
    if found.count < FEWEST:
        reason = f"{_points(found.mean)} over {seeds}: too few to tell, at least {FEWEST} are needed and 5 are better."
        return Comparison("NO DIFFERENCE", reason, found)
    p_value = min(1.0, _paired_p(differences) * comparisons)
    said = f"{_points(found.mean)} over {seeds} ({_interval(found)}, paired t-test {_p(p_value, comparisons)})"
    if p_value >= LEVEL:
        reach = (found.high or 0.0) - found.mean
        reason = f"{said}: these runs cannot tell it from chance; below {100 * reach:.1f} points they hardly could."
        return Comparison("NO DIFFERENCE", reason, found, p_value)
    return Comparison("BEATS" if found.mean > 0 else "WORSE", f"{said}.", found, p_value)


def _paired_p(differences: Sequence[float]) -> float:
    if max(differences) - min(differences) < 1e-12:  # no spread: the test statistic is 0 or infinite
        return 1.0 if abs(differences[0]) < 1e-12 else 0.0
    return float(stats.ttest_1samp(differences, 0.0).pvalue)


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f} points"


def _interval(found: Estimate) -> str:
    if found.low is None or found.high is None:
        return "no interval"
    return f"95 % interval {100 * found.low:+.1f} to {100 * found.high:+.1f}"


def _p(p_value: float, comparisons: int) -> str:
    shown = "p < 0.0001" if p_value < 1e-4 else f"p = {p_value:.4f}"
    return shown if comparisons == 1 else f"{shown} corrected for {comparisons} comparisons"
