"""A signal ends a test at once, and Lightning's own answers to it are left out."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from torch import nn
from torch.utils.data import DataLoader

from lightning_distill.callbacks import EndTest, StopRequested
from lightning_distill.pipeline.stage import Stage
from lightning_distill.report import RunFolder
from tests.configs import TINY, planned


class Signalled(pl.LightningModule):
    """Gets a signal in the second batch of its test."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__()
        self.layer, self.number, self.batches = nn.Linear(2, 2), number, 0

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.batches += 1
        if batch_idx == 1:
            signal.raise_signal(self.number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_test__ends_at_once(number: signal.Signals, tmp_path: Path) -> None:
    before, module = signal.getsignal(number), Signalled(number)
    quiet: Any = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(accelerator="cpu", callbacks=[EndTest()], default_root_dir=tmp_path, **quiet)
    with pytest.raises(StopRequested, match=f"stopped by {number.name}"):
        trainer.test(module, DataLoader([[0.0]] * 8), verbose=False)  # type: ignore[arg-type]
    assert module.batches == 2
    assert signal.getsignal(number) == before


def test_stage__requeues_are_not_left_to_lightning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a task that ``srun`` started: Lightning would write ``hpc_ckpt_1.ckpt``, which the next stage would take."""
    found = {"NTASKS": "1", "NTASKS_PER_NODE": "1", "JOB_NAME": "run", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}
    for name, value in found.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    plan = planned(tmp_path, *TINY, "teacher=null")
    stage = Stage("student", plan.stage, RunFolder(tmp_path))
    environment: Any = stage._make_trainer([])._accelerator_connector.cluster_environment
    assert type(environment).__name__ == "SLURMEnvironment"
    assert environment.auto_requeue is False
