"""SLURM: the job script of docs/scaling.md, stopped, preempted and requeued; and a sweep of jobs.

On a machine without SLURM: ``eval "$(scripts/one_machine_slurm.sh start)"`` makes it one of a cluster of one.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.configs import ROOT
from tests.launching import SCRIPT, SHORT, environment, results, started, wait_for


def idle_processors() -> int:
    """How many processors SLURM would give to a job now; 0 without SLURM."""
    with suppress(OSError, ValueError, subprocess.SubprocessError):
        command = ["sinfo", "--noheader", "--format=%C", "--partition=normal"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        return int(answer.stdout.split("/")[1])  # allocated/idle/other/total
    return 0


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("srun") is None or idle_processors() < 2,
        reason="needs SLURM with two processors in a partition `normal`: scripts/one_machine_slurm.sh",
    ),
]

TWO = ["--nodes=1", "--ntasks-per-node=2"]
ENGINE = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")


def slurm(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def job_script() -> str:
    """The one that the page shows, for this Python and a short run on a CPU."""
    page = (ROOT / "docs/scaling.md").read_text()
    script = "#!/bin/bash" + page.split("#!/bin/bash")[1].split("```")[0]
    for shown, tried in (
        ("python train.py", f"{sys.executable} {SCRIPT}"),
        ("trainer=ddp trainer.devices=2", " ".join([*ENGINE, *SHORT])),
        ("#SBATCH --signal", "#SBATCH --output=job.txt\n#SBATCH --signal"),
    ):
        assert script.count(shown) == 1, shown
        script = script.replace(shown, tried)
    return script


@pytest.fixture
def job(tmp_path: Path) -> Iterator[str]:
    """The number of the job that runs the script in ``tmp_path``."""
    (tmp_path / "job.sh").write_text(job_script())
    done = subprocess.run(
        ["sbatch", "--parsable", "job.sh"], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
    )
    number = done.stdout.strip()
    yield number
    subprocess.run(["scancel", number], check=False)


def state(job: str) -> str:
    return slurm("scontrol", "show", "job", job).split("JobState=")[1].split()[0]


def begin_again(job: str) -> None:
    """Once a job was requeued, let it start now; SLURM lets two minutes pass."""
    wait_for(lambda: state(job) == "PENDING")
    slurm("scontrol", "update", f"JobId={job}", "StartTime=now+5")  # sooner, its permit counts as revoked


def test_script__stopped_and_preempted_equals_an_uninterrupted_run(job: str, tmp_path: Path) -> None:
    """SIGUSR1 as ahead of a limit, SIGTERM as another job takes the place: requeued, resumed, equal bit for bit."""
    run, log = tmp_path / "runs/a", tmp_path / "job.txt"
    wait_for(lambda: (run / "teacher.csv").exists())
    slurm("scancel", "--signal=USR1", job)
    begin_again(job)
    wait_for(lambda: (run / "baseline.csv").exists())
    slurm("srun", "--partition=urgent", "--ntasks=2", "true")
    begin_again(job)
    wait_for(lambda: state(job) not in ("PENDING", "RUNNING", "COMPLETING"))
    assert state(job) == "COMPLETED", log.read_text()
    assert slurm("scontrol", "show", "job", job).split("Restarts=")[1].split()[0] == "2"
    assert [f"exit code {code}" in log.read_text() for code in (138, 143)] == [True, True]

    command = ["srun", *TWO, sys.executable, SCRIPT, *ENGINE, *SHORT]
    assert started(command, tmp_path, "whole.txt").wait(200) == 0, (tmp_path / "whole.txt").read_text()
    [whole] = (tmp_path / "outputs/slurm").iterdir()  # named alike in both processes
    assert results(run) == results(whole)


def test_sweep__jobs_of_submitit(tmp_path: Path) -> None:
    launcher = ["hydra/launcher=submitit_slurm", "hydra.launcher.partition=normal", "hydra.launcher.timeout_min=10"]
    options = [*SHORT, "trainer=cpu", "teacher=null", "seed=0,1", "hydra.sweep.dir=sweep"]
    command = [sys.executable, SCRIPT, "-m", *launcher, *options]
    assert started(command, tmp_path, "sweep.txt").wait(300) == 0, (tmp_path / "sweep.txt").read_text()
    runs = [json.loads((tmp_path / f"sweep/{number}/metrics.json").read_text()) for number in range(2)]
    assert [run["run"]["seed"] for run in runs] == [0, 1]
    [setting] = json.loads((tmp_path / "sweep/verdict.json").read_text())["settings"]
    assert setting["seeds"] == [0, 1]
