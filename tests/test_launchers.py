"""``torchrun``: one run of several processes, of which one is killed, or all are asked to end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launching import SCRIPT, SHORT, free_port, results, started, wait_for

TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
ONE_MACHINE = [*TORCHRUN, "--standalone", "--nproc-per-node=2", SCRIPT]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="finds the processes of torchrun in /proc"),
]


def two_machines(folder: Path, *options: str) -> None:
    """Two launchers of one process each, as on two machines."""
    rendezvous = ["--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{free_port()}"]
    engine = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.num_nodes=2", "trainer.devices=1"]
    command = [*TORCHRUN, *rendezvous, SCRIPT, *engine, *SHORT, *options]
    machines = [started(command, folder, f"machine{number}.txt") for number in range(2)]
    for number, machine in enumerate(machines):
        assert machine.wait(200) == 0, (folder / f"machine{number}.txt").read_text()


def worker(launcher: subprocess.Popen[bytes], rank: int) -> int:
    """The process of a launcher that has this rank."""
    for child in Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split():
        if f"RANK={rank}".encode() in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
            return int(child)
    raise LookupError(rank)


def test_torchrun__killed_stopped_and_resumed_equals_two_machines(tmp_path: Path) -> None:
    """One folder for all processes, though each reads the clock; then SIGKILL for one, SIGTERM for all."""
    two_machines(tmp_path)
    [whole] = (tmp_path / "outputs").glob("*/*")
    assert results(whole)["numbers"].keys() == {"teacher", "baseline", "student"}

    run = tmp_path / "run"
    launcher = started([*ONE_MACHINE, "trainer=ddp_cpu", *SHORT, "hydra.run.dir=run"], tmp_path, "killed.txt")
    wait_for(lambda: (run / "teacher.csv").exists())
    os.kill(worker(launcher, rank=1), signal.SIGKILL)
    assert launcher.wait(60) == 1
    assert not (run / "student.csv").exists()

    launcher = started([*ONE_MACHINE, "resume=run"], tmp_path, "stopped.txt")
    wait_for(lambda: (run / "baseline.csv").exists())
    launcher.send_signal(signal.SIGTERM)
    assert launcher.wait(60) == 1  # torchrun's own
    assert "Interrupted in the stage" in (tmp_path / "stopped.txt").read_text()

    assert started([*ONE_MACHINE, "resume=run"], tmp_path, "resumed.txt").wait(200) == 0
    assert results(run) == results(whole)
