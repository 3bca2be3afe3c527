"""Benchmarks compare the same work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.step import fidelity, make_work, multiply_adds, student_like
from benchmarks.step_time import CANDIDATES

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_step_time__every_candidate_makes_the_same_step() -> None:
    work = make_work(torch.device("cpu"), steps=4)
    before = student_like(work).state_dict()
    trained = {}
    for name, make in CANDIDATES.items():
        candidate = make(work)
        candidate.step()
        if "without a teacher" in name:
            continue  # another step, to compare the price with
        trained[name] = candidate.student.state_dict()
        found = fidelity(candidate, work)
        half = {"bf16": 0.1, "float16": 1e-2}  # the rounding of what a name says
        assert found["largest_deviation"] < next((size for kind, size in half.items() if kind in name), 2e-6)
        assert found["top1_agreement"] > 0.95
    for state in trained.values():
        moved = [float((state[k] - before[k]).abs().max()) for k in before if k.endswith("weight")]
        assert min(moved) > 1e-4
        # One step of AdamW turns a gradient's sign into 1e-3: where it is next to nothing, the sign may differ.
        close = [(state[k] - trained["plain loop by hand"][k]).abs() < 1e-4 for k in before if k.endswith("weight")]
        assert float(torch.cat([c.flatten() for c in close]).float().mean()) > 0.97


def test_step_time__is_as_large_as_it_says() -> None:
    work = make_work(torch.device("cpu"), steps=0)
    assert round(multiply_adds(work.teacher, work.images) / 1e6, 1) == 21.9
    assert round(multiply_adds(student_like(work), work.images) / 1e6, 1) == 2.0


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="measures where there is a GPU")
def test_gpu__says_that_there_is_none() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "No CUDA device was found" in done.stdout
