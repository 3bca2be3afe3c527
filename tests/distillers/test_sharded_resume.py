"""A student in shards: killed within an epoch, and going on."""

from __future__ import annotations

import csv
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from lightning_distill.callbacks import BestAndLast, EpochCsv
from lightning_distill.distillers import ShardedStudent
from lightning_distill.pipeline.stage import read_state
from tests.distillers.cpu_fsdp import CpuFSDP
from tests.distillers.test_scale import data, make
from tests.ranks import in_two_processes

pytestmark = [
    pytest.mark.slow,
    # Lightning, of the first FSDP.
    pytest.mark.filterwarnings(r"ignore:FSDP\.:FutureWarning"),
]


STRATEGIES: dict[str, Callable[[], Any]] = {
    "fsdp2": ShardedStudent,
    "fsdp2-folder": partial(ShardedStudent, save_distributed_checkpoint=True),
    "fsdp": partial(CpuFSDP, state_dict_type="full"),
}


class Killed(pl.Callback):
    """``kill -9`` for one of the two processes, when a certain batch begins."""

    def __init__(self, epoch: int, batch: int) -> None:
        self.at = (1, epoch, batch)

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        if (trainer.global_rank, trainer.current_epoch, batch_idx) == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def fit(rank: int, folder: Path, strategy: str, *callbacks: pl.Callback) -> None:
    last = folder / "last.ckpt"
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=2,
        strategy=STRATEGIES[strategy](),
        max_epochs=3,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[*callbacks, EpochCsv(folder / "log.csv"), BestAndLast(folder, every_n_steps=1)],
    )
    trainer.fit(make("classic"), datamodule=data(4), ckpt_path=str(last) if last.exists() else None, weights_only=True)


def outcome(folder: Path) -> tuple[dict[str, Tensor], dict[str, Tensor], list[dict[str, str]]]:
    with (folder / "log.csv").open() as file:
        rows = [{**row, "seconds": ""} for row in csv.DictReader(file)]
    return read_state(folder / "last.ckpt"), read_state(folder / "best.ckpt"), rows


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_killed__goes_on_bit_for_bit(strategy: str, tmp_path: Path) -> None:
    """In the first batch of all, and within the second epoch."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    in_two_processes(fit, whole, strategy)
    for epoch, batch in ((0, 0), (1, 2)):
        with pytest.raises((ProcessExitedException, ProcessRaisedException)):
            in_two_processes(fit, killed, strategy, Killed(epoch, batch))
    assert len((killed / "log.csv").read_text().splitlines()) == 2
    in_two_processes(fit, killed, strategy)
    expected, found = outcome(whole), outcome(killed)
    assert found[2] == expected[2]
    for before, after in zip(expected[:2], found[:2], strict=True):
        assert before.keys() == after.keys()
        assert all(torch.equal(value, after[name]) for name, value in before.items())
