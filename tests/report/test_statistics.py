"""Tests with known answers: a planted effect, none, too few seeds; and how often chance is taken for an effect."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lightning_distill.report.statistics import compare, estimate


def test_estimate__against_the_textbook() -> None:
    # Mean 5, deviation sqrt(10 / 4); t of 0.975 with 4 degrees of freedom is 2.776.
    found = estimate([3.0, 4.0, 5.0, 6.0, 7.0])
    assert (found.mean, found.count) == (5.0, 5)
    assert found.deviation == pytest.approx(1.5811, abs=1e-4)
    assert found.high == pytest.approx(5 + 2.7764 * 1.5811 / 5**0.5, abs=1e-3)
    assert found.low == pytest.approx(10 - found.high)


def test_estimate__of_one_value_has_no_spread() -> None:
    found = estimate([0.9])
    assert (found.mean, found.deviation, found.low, found.high) == (0.9, None, None, None)


def test_compare__planted_effect() -> None:
    rng = np.random.default_rng(0)
    baseline = 0.8 + 0.05 * rng.standard_normal(8)  # seeds differ much more than the effect
    student = baseline + 0.02 + 0.005 * rng.standard_normal(8)
    found = compare(student.tolist(), baseline.tolist())
    assert found.judgement == "BEATS"
    assert found.difference is not None
    assert found.difference.mean == pytest.approx(0.02, abs=0.005)
    assert found.p_value == pytest.approx(float(stats.ttest_rel(student, baseline).pvalue))
    assert "over 8 seeds (95 % interval" in found.reason
    assert compare(baseline.tolist(), student.tolist()).judgement == "WORSE"


def test_compare__no_effect() -> None:
    rng = np.random.default_rng(1)
    baseline, student = (0.8 + 0.02 * rng.standard_normal(8) for _ in range(2))
    found = compare(student.tolist(), baseline.tolist())
    assert found.judgement == "NO DIFFERENCE"
    assert "cannot tell it from chance" in found.reason


@pytest.mark.parametrize("count", [1, 2])
def test_compare__too_few_seeds(count: int) -> None:
    found = compare([0.9] * count, [0.5] * count)
    assert found.judgement == "NO DIFFERENCE"
    assert found.p_value is None
    assert f"+40.0 points over {count} seed" in found.reason
    assert "too few to tell, at least 3 are needed" in found.reason


def test_compare__without_baseline() -> None:
    found = compare([], [])
    assert found.judgement == "NO DIFFERENCE"
    assert "no pairs" in found.reason


def test_compare__the_same_difference_everywhere() -> None:
    assert compare([0.8, 0.9, 0.7], [0.8, 0.9, 0.7]).judgement == "NO DIFFERENCE"
    assert compare([0.81, 0.91, 0.71], [0.8, 0.9, 0.7]).judgement == "BEATS"


def test_compare__many_comparisons_need_more() -> None:
    student, baseline = [0.84, 0.85, 0.83, 0.86], [0.80, 0.81, 0.80, 0.84]
    one, many = compare(student, baseline), compare(student, baseline, comparisons=20)
    assert (one.judgement, many.judgement) == ("BEATS", "NO DIFFERENCE")
    assert one.p_value is not None
    assert many.p_value == pytest.approx(20 * one.p_value)
    assert "corrected for 20 comparisons" in many.reason


def test_compare__takes_chance_for_an_effect_in_one_of_twenty() -> None:
    rng = np.random.default_rng(2)
    pairs = rng.standard_normal((1000, 2, 5))
    wrong = sum(compare(own.tolist(), alone.tolist()).judgement != "NO DIFFERENCE" for own, alone in pairs)
    # 50 expected, with a standard deviation of 7.
    assert 30 < wrong < 70
