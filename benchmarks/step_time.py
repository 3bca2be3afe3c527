"""What a training step costs with a teacher that is made cheaper: ``python -m benchmarks.step_time``."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from benchmarks.interleave import Timing, interleaved
from benchmarks.step import (
    COLUMNS,
    Candidate,
    Work,
    alone,
    cached,
    fidelity,
    make_work,
    module,
    multiply_adds,
    optimised,
    plain,
    row,
)
from benchmarks.step import student_like as student_of
from benchmarks.table import write

# By name; the first is what the others are compared with.
CANDIDATES: dict[str, Callable[[Work], Candidate]] = {
    "plain loop by hand": plain,
    "loop by hand, equally optimised": optimised,
    "Distiller": module,
    "Distiller, fold_batchnorm=False": partial(module, fold_batchnorm=False, student={"memory_format": "preserve"}),
    "Distiller, precision=bf16": partial(module, precision="bf16"),
    "Distiller, cached (float16)": cached,
    "Distiller without a teacher": alone,
}
BY_HAND, OURS = "loop by hand, equally optimised", "Distiller"


def measured(
    candidates: Mapping[str, Candidate], work: Work, rounds: int, clock: Callable[[], float]
) -> dict[str, dict[str, Any]]:
    """Ratios to the first candidate, and what became of the teacher's answers."""
    timings = interleaved({name: candidate.step for name, candidate in candidates.items()}, rounds, clock=clock)
    return {name: _numbers(timings[name]) | fidelity(candidate, work) for name, candidate in candidates.items()}


def _numbers(timing: Timing) -> dict[str, Any]:
    return {
        "milliseconds": round(timing.seconds * 1e3, 2),
        "ratio": round(timing.ratio, 3),
        "quartiles": [round(timing.low, 3), round(timing.high, 3)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=41, help="how often each is timed")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of PyTorch")
    parser.add_argument("--cpu-time", action="store_true", help="CPU time, in which other programs do not count")
    options = parser.parse_args()
    clock, flag = (time.process_time, " --cpu-time") if options.cpu_time else (time.perf_counter, "")
    torch.set_num_threads(options.threads)
    work = make_work(torch.device("cpu"))
    candidates = {name: make(work) for name, make in CANDIDATES.items()}
    results = measured(candidates, work, options.rounds, clock)
    pair = interleaved({name: candidates[name].step for name in (BY_HAND, OURS)}, options.rounds, clock=clock)
    rows = [row(name, result) for name, result in results.items()]
    extra = _numbers(pair[OURS])
    low, high = extra["quartiles"]
    rows.append([f"{OURS} / {BY_HAND}", f"{extra['ratio']:.2f} ({low:.2f} to {high:.2f})", "", "", "", ""])
    sizes = {
        "teacher": multiply_adds(work.teacher, work.images),
        "student": multiply_adds(student_of(work), work.images),
    }
    data = {"steps": results, "to_optimised": extra, "multiply_adds": sizes}
    write("step_time", f"python -m benchmarks.step_time{flag}", COLUMNS, rows, data)


if __name__ == "__main__":
    main()
