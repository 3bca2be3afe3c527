"""A student in shards: killed within an epoch, and going on; and what it cannot be combined with."""

from __future__ import annotations

import csv
import os
import signal
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
from tests.distillers.test_scale import data, make
from tests.ranks import in_two_processes

pytestmark = pytest.mark.slow


class Killed(pl.Callback):
    """``kill -9`` for one of the two processes, when a batch of the second epoch begins."""

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        if (trainer.global_rank, trainer.current_epoch, batch_idx) == (1, 1, 2):
            os.kill(os.getpid(), signal.SIGKILL)


def fit(rank: int, folder: Path, shards: bool, *callbacks: pl.Callback) -> None:
    last = folder / "last.ckpt"
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=2,
        strategy=ShardedStudent(save_distributed_checkpoint=shards),
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


@pytest.mark.parametrize("shards", [False, True], ids=["file", "folder"])
def test_killed__goes_on_bit_for_bit(shards: bool, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    in_two_processes(fit, whole, shards)
    with pytest.raises((ProcessExitedException, ProcessRaisedException)):
        in_two_processes(fit, killed, shards, Killed())
    assert len((killed / "log.csv").read_text().splitlines()) == 2
    in_two_processes(fit, killed, shards)
    expected, found = outcome(whole), outcome(killed)
    assert found[2] == expected[2]
    for before, after in zip(expected[:2], found[:2], strict=True):
        assert before.keys() == after.keys()
        assert all(torch.equal(value, after[name]) for name, value in before.items())
