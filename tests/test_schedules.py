from __future__ import annotations

import copy
import pickle
import re

import pytest

from lightning_distill.schedules import (
    Constant,
    Cosine,
    Exponential,
    LinearWarmup,
    Schedule,
    Step,
    is_scheduled,
    value_at,
)

VALUES = [
    (Constant(0.3), {0.0: 0.3, 0.5: 0.3, 1.0: 0.3}),
    (LinearWarmup(start=1.0, end=5.0, warmup=0.5), {0.0: 1.0, 0.25: 3.0, 0.5: 5.0, 1.0: 5.0}),
    (LinearWarmup(end=2.0, warmup=0.0), {0.0: 2.0, 1.0: 2.0}),
    (Cosine(start=0.0, end=1.0), {0.0: 0.0, 0.25: 0.1464466094, 0.5: 0.5, 1.0: 1.0}),
    (Step(values=[3.0, 2.0, 1.0], milestones=[0.5, 0.75]), {0.0: 3.0, 0.4999: 3.0, 0.5: 2.0, 0.75: 1.0, 1.0: 1.0}),
    (Exponential(start=16.0, end=1.0), {0.0: 16.0, 0.25: 8.0, 0.5: 4.0, 1.0: 1.0}),
]
SCHEDULES = [schedule for schedule, _ in VALUES]


@pytest.mark.parametrize(("schedule", "expected"), VALUES, ids=str)
def test_schedule__values(schedule: Schedule, expected: dict[float, float]) -> None:
    assert {progress: schedule(progress) for progress in expected} == pytest.approx(expected)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_schedule__copies_and_pickles(schedule: Schedule) -> None:
    assert copy.deepcopy(schedule) == schedule
    assert pickle.loads(pickle.dumps(schedule))(0.3) == schedule(0.3)


def test_schedule__repr_builds_it_again() -> None:
    assert eval(repr(SCHEDULES[1])) == SCHEDULES[1]


def test_value_at__number_and_schedule() -> None:
    assert value_at(0.7, 0.2) == 0.7
    assert value_at(Exponential(1.0, 4.0), 0.5) == pytest.approx(2.0)
    assert is_scheduled(Constant(1.0))
    assert not is_scheduled(1.0)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: LinearWarmup(warmup=1.5), "`warmup` to be in [0, 1], but got 1.5"),
        (lambda: Step(values=[1.0], milestones=[0.5]), "one entry more than `milestones`, but got 1 and 1"),
        (lambda: Step(values=[1.0, 2.0, 3.0], milestones=[0.6, 0.5]), "`milestones` to rise, but got [0.6, 0.5]"),
        (lambda: Step(values=[1.0, 2.0], milestones=[30]), "`milestones` to be in [0, 1], but got 30"),
        (lambda: Step(values=[1.0, "2"], milestones=[0.5]), "`values[1]` to be a finite number, but got '2'"),
        (lambda: Exponential(start=0.0, end=1.0), "`start` to be above 0, but got 0.0"),
        (lambda: Cosine(start=0.0, end=float("nan")), "`end` to be a finite number, but got nan"),
        (lambda: Constant(True), "`value` to be a finite number, but got True"),
    ],
)
def test_schedule__rejects_bad_arguments(build, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        build()


def test_schedule__is_abstract() -> None:
    with pytest.raises(TypeError):
        Schedule()
