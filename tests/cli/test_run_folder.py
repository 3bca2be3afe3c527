"""One folder for all processes of a run."""

from __future__ import annotations

import pytest
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from lightning_distill.cli.run_folder import run_folder

NAMES = ("WORLD_SIZE", "TORCHELASTIC_USE_AGENT_STORE", "SLURM_NTASKS", "SLURM_STEP_ID")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def test_torchrun__the_first_process_says(monkeypatch: pytest.MonkeyPatch) -> None:
    server = TCPStore("127.0.0.1", 0, is_master=True)
    found = {"WORLD_SIZE": "2", "TORCHELASTIC_USE_AGENT_STORE": "True", "MASTER_ADDR": "127.0.0.1"}
    for name, value in {**found, "MASTER_PORT": str(server.port)}.items():
        monkeypatch.setenv(name, value)
    answers = []
    for rank, clock in enumerate(["12-00-59", "12-01-00"]):
        monkeypatch.setenv("RANK", str(rank))
        answers.append(run_folder(None, clock))
    assert answers == ["12-00-59", "12-00-59"]
    assert run_folder("runs/a", "12-01-00") == "runs/a"
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")  # all processes begin again, and have read the clock again
    monkeypatch.setenv("RANK", "0")
    assert run_folder(None, "12-30-00") == "12-30-00"


def test_slurm__is_named_by_the_job_and_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("SLURM_STEP_ID", "2")
    monkeypatch.setenv("SLURM_NTASKS", "1")
    assert run_folder(None, "12-00-00") == "12-00-00"
    monkeypatch.setenv("SLURM_NTASKS", "2")
    assert run_folder(None, "12-00-00") == "outputs/slurm/17-2"
