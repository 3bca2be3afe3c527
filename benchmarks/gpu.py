"""The table of ``step_time`` on a CUDA device, and what only pays off there: ``python -m benchmarks.gpu``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import torch

from benchmarks.interleave import interleaved
from benchmarks.step import (
    ADAMW,
    ALPHA,
    COLUMNS,
    TEMPERATURE,
    Candidate,
    Work,
    fidelity,
    make_work,
    module,
    optimised,
    plain,
    row,
    student_like,
)
from benchmarks.table import write
from lightning_distill import FrozenTeacher
from lightning_distill.distillers import Distillation
from lightning_distill.losses import KLDistillationLoss


def graphed(work: Work) -> Candidate:
    """The whole step, optimizer included, as one CUDA graph: nothing in it waits for the device or allocates."""
    student, teacher = student_like(work), FrozenTeacher(work.teacher)
    student = student.to(memory_format=torch.channels_last)
    distillation = Distillation(student, teacher, alpha=ALPHA, distillation_loss=KLDistillationLoss(TEMPERATURE))
    optimizer = ADAMW(student.parameters(), capturable=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        distillation.total(distillation(work.batch)).backward()
        optimizer.step()

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return Candidate(graph.replay, teacher, student)


BF16 = torch.bfloat16
COMPILED = {"compile": True, "student": {"compile": True}}
# By name; the first is what the others are compared with.
CANDIDATES: dict[str, Callable[[Work], Candidate]] = {
    "plain loop by hand": plain,
    "loop by hand, equally optimised": optimised,
    "Distiller": module,
    "Distiller, precision=bf16": partial(module, precision="bf16"),
    "Distiller, all under bf16-mixed": partial(module, dtype=BF16),
    "Distiller, compile": partial(module, **COMPILED),
    "Distiller, compile, all under bf16-mixed": partial(module, dtype=BF16, **COMPILED),
    "the same losses in a CUDA graph": graphed,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=41, help="how often each is timed")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("No CUDA device was found: nothing was measured. `python -m benchmarks.step_time` runs on the CPU.")
        return 0
    work = make_work(torch.device("cuda"))
    candidates = {name: make(work) for name, make in CANDIDATES.items()}
    timings = interleaved({name: candidate.step for name, candidate in candidates.items()}, options.rounds)
    results = {}
    for name, timing in timings.items():
        numbers = {"ratio": round(timing.ratio, 3), "quartiles": [round(timing.low, 3), round(timing.high, 3)]}
        results[name] = numbers | {"milliseconds": round(timing.seconds * 1e3, 3)} | fidelity(candidates[name], work)
    write(
        "gpu",
        "python -m benchmarks.gpu",
        COLUMNS,
        [row(name, found) for name, found in results.items()],
        {"steps": results},
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
