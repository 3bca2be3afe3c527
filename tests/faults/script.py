"""``python train.py`` in a process of its own, killed by the clock, and what it has left by then."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from lightning_distill.callbacks.epoch_csv import read_rows
from lightning_distill.files import PART
from lightning_distill.saved_config import read_config
from tests.callbacks.test_mid_epoch import flat
from tests.configs import ROOT
from tests.test_pipeline import ROLES, TIMED, metrics, rows

PATIENCE = 300  # seconds for a run of a few


class Script:
    """Starts the script in ``place``; its run is ``place / "run"``.

    Args:
        place: The working folder.
    """

    def __init__(self, place: Path) -> None:
        self.place, self.run = place, place / "run"
        self.groups: list[int] = []
        place.mkdir()

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        environment.pop("HYDRA_FULL_ERROR", None)
        command = [sys.executable, str(ROOT / "train.py"), *arguments]
        with (self.place / "output.txt").open("ab") as output:
            process = subprocess.Popen(
                command, cwd=self.place, env=environment, stdout=output, stderr=output, start_new_session=True
            )
        self.groups.append(process.pid)
        return process

    def finish(self, *arguments: str) -> float:
        """Run it to its end. Returns the seconds it took."""
        start = time.perf_counter()
        process = self.start(*arguments)
        try:
            assert process.wait(PATIENCE) == 0, self.output
        finally:
            self.kill(process, whole_group=True)
        return time.perf_counter() - start

    def end_after(self, seconds: float, whole_group: bool, *arguments: str) -> int:
        """Kill it after so long, with its worker processes or without. Returns the exit code, 0 if it was done."""
        process = self.start(*arguments)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill(process, whole_group)
        return process.wait()

    def kill(self, process: subprocess.Popen[bytes], whole_group: bool) -> None:
        if process.poll() is None:
            (os.killpg if whole_group else os.kill)(process.pid, signal.SIGKILL)

    @property
    def output(self) -> str:
        return (self.place / "output.txt").read_text()

    def orphans(self) -> list[int]:
        """Processes that are left of any that was started here."""
        alive = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(") ")[2].split()
            except OSError:  # it has just ended
                continue
            if int(fields[2]) in self.groups and fields[0] != "Z":
                alive.append(int(stat.parent.name))
        return alive


READERS: dict[str, Callable[[Path], object]] = {
    ".ckpt": lambda path: torch.load(path, weights_only=True),
    ".safetensors": load_file,
    ".json": lambda path: json.loads(path.read_text()),
    ".yaml": read_config,
    ".csv": read_rows,
    ".pt2": torch.export.load,
    ".bin": Path.read_bytes,
    ".lock": Path.read_bytes,
    ".sha256": Path.read_bytes,
    ".png": lambda path: png_is_whole(path.read_bytes()),
    ".html": lambda path: path.read_text().rstrip().endswith("</html>") or halved(path),
}


def png_is_whole(content: bytes) -> None:
    if not (content.startswith(b"\x89PNG") and content.endswith(b"IEND\xaeB`\x82")):
        raise ValueError("half a picture")


def halved(path: Path) -> None:
    raise ValueError(f"half a page: {path}")


def check_whole(run: Path) -> int:
    """Read every file that a killed run left under a final name. Returns how many there are."""
    found = [path for path in run.rglob("*") if path.is_file() and PART not in path.as_posix()]
    for path in found:
        READERS[path.suffix](path)
    return len(found)


def everything(run: Path) -> dict[str, Any]:
    """All that a finished run computed and kept, without times and paths."""
    numbers = metrics(run)
    roles = [role for role in ROLES if role in numbers]
    for role in roles:
        for name in ("latency_ms", *TIMED):
            numbers[role].pop(name, None)
    for name in ("cache_seconds", "cache_bytes"):
        numbers["run"].pop(name, None)
    found = flat(numbers, "metrics")
    for role in roles:
        if (run / f"{role}.csv").exists():
            found[f"{role} rows"] = [row | {"seconds": ""} for row in rows(run, role)]
        found[f"{role} weights"] = (run / f"{role}.safetensors").read_bytes()
        found[f"{role} answers"] = (run / f"predictions/{role}.safetensors").read_bytes()
    for path in sorted(run.glob("checkpoints/*/*.ckpt")):
        leaves = flat(torch.load(path, weights_only=True))
        found |= {
            f"{path.parent.name} {path.name} {name}": value
            for name, value in leaves.items()
            if not name.endswith("best_path")
        }
    return found


def differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Names under which two results differ."""
    return sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
