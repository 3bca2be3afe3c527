"""Time candidates in turns within one process, so that whatever else the machine does hits all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch

Step = Callable[[], object]
Clock = Callable[[], float]


class Timing(NamedTuple):
    """Seconds per call.

    Attributes:
        seconds: Median over the rounds.
        ratio: Median over the rounds of this candidate's time over the first one's in the same round.
        low: The ratio's first quartile.
        high: The ratio's third quartile.
    """

    seconds: float
    ratio: float
    low: float
    high: float


def synchronize() -> None:
    """Wait for the accelerator, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def once(step: Step, repeats: int, clock: Clock = time.perf_counter) -> float:
    """Seconds of one call, averaged over ``repeats``."""
    synchronize()
    start = clock()
    for _ in range(repeats):
        step()
    synchronize()
    return (clock() - start) / repeats


def interleaved(
    candidates: Mapping[str, Step], rounds: int = 31, least: float = 2e-3, clock: Clock = time.perf_counter
) -> dict[str, Timing]:
    """Time every candidate in every round; the order alternates. The others are compared to the first one.

    Args:
        candidates: What to run, by name.
        rounds: How often each is timed.
        least: Seconds that one timing takes at least: short candidates are repeated within it.
        clock: ``time.process_time`` for the CPU's time, which other programs on the machine do not count in.

    Example:
        >>> list(interleaved({"a": lambda: sum(range(99)), "b": lambda: sum(range(999))}, rounds=3, least=1e-4))
        ['a', 'b']
    """
    for step in candidates.values():
        step(), step()
    repeats = {name: max(1, round(least / max(once(step, 2), 1e-9))) for name, step in candidates.items()}
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(rounds):
        names = list(candidates) if turn % 2 else list(candidates)[::-1]
        for name in names:
            times[name].append(once(candidates[name], repeats[name], clock))
    first = times[next(iter(candidates))]
    return {name: _timing(values, first) for name, values in times.items()}


def _timing(values: list[float], first: list[float]) -> Timing:
    ratios = [value / reference for value, reference in zip(values, first, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return Timing(statistics.median(values), middle, low, high)


def peak_bytes(step: Step) -> int:
    """Most bytes of tensors alive at one time that one call allocates."""
    step()
    if torch.cuda.is_available():
        synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        synchronize()
        return int(torch.cuda.max_memory_allocated() - before)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step()
    alive = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            alive += event.nbytes()
            peak = max(peak, alive)
    return peak
