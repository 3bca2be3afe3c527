"""SIGTERM and SIGUSR1: a checkpoint, a line that says how to go on, and an exit code that says why."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lightning_distill.stop import Stop, StopRequested
from tests.configs import ROOT

OPTIONS = ["trainer=cpu", "teacher=null", "export=null", "hydra.run.dir=run", "callbacks.progress_bar=null"]


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    environment.pop("HYDRA_FULL_ERROR", None)
    command = [sys.executable, str(ROOT / "train.py"), *options]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 138)])
def test_script__saves_and_says_why_it_ended(tmp_path: Path, number: signal.Signals, code: int) -> None:
    process = start(tmp_path, *OPTIONS, "trainer.max_epochs=100")
    csv = tmp_path / "run/student.csv"
    while process.poll() is None and not csv.exists():
        time.sleep(0.05)
    process.send_signal(number)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == code
    assert "Interrupted in the stage `student`. Go on with: " in output
    steps = torch.load(tmp_path / "run/checkpoints/student/last.ckpt", weights_only=True)["global_step"]
    assert steps >= 2 * (len(csv.read_text().splitlines()) - 1)
    process = start(tmp_path, "resume=run")
    process.communicate(timeout=120)
    assert process.returncode == 0
    assert len(csv.read_text().splitlines()) == 101


def test_stop__a_second_signal_does_what_it_did_before() -> None:
    stop = Stop([signal.SIGUSR1])
    stop.listen()
    signal.raise_signal(signal.SIGUSR1)
    assert stop.signal == signal.SIGUSR1
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
    stop.ignore()


def test_stop__gives_the_handlers_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    stop = Stop()
    stop.listen()
    assert signal.getsignal(signal.SIGTERM) != before
    stop.ignore()
    assert signal.getsignal(signal.SIGTERM) == before


def test_request__has_the_exit_code_of_a_shell() -> None:
    request = StopRequested(signal.SIGTERM)
    assert (request.exit_code, request.signal, str(request)) == (143, signal.SIGTERM, "stopped by SIGTERM")
