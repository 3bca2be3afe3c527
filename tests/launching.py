"""Runs of ``train.py`` as processes that a launcher starts."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.configs import ROOT, files

SCRIPT = str(ROOT / "train.py")
# Seconds, and nothing that tells one run from another.
SHORT = ("debug=fast", "report=false", "export=null", "callbacks.progress_bar=null", "checkpoints.every_n_steps=1")


def environment() -> dict[str, str]:
    """One thread for each process, output as it comes, and errors as a user sees them."""
    inherited = {name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"}
    return inherited | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def started(command: list[str], folder: Path, log: str) -> subprocess.Popen[bytes]:
    """A process in ``folder`` that writes what it says into the file ``log`` there."""
    folder.mkdir(exist_ok=True)
    with (folder / log).open("wb") as output:
        return subprocess.Popen(command, cwd=folder, env=environment(), stdout=output, stderr=subprocess.STDOUT)


def wait_for(condition: Any, seconds: float = 120) -> None:
    """Until ``condition()`` holds; an AssertionError if that takes longer."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def results(run: Path) -> dict[str, Any]:
    """What two equal runs have in common: files, weights as bytes, and measured numbers apart from times."""
    metrics = json.loads((run / "metrics.json").read_text())
    numbers = {
        role: {name: value for name, value in metrics[role].items() if "/" in name or name == "best_epoch"}
        for role in metrics
        if role != "run"
    }
    weights = {path.name: path.read_bytes() for path in run.glob("*.safetensors")}
    return {"files": files(run), "numbers": numbers, "weights": weights}
