"""A run that ends anywhere and goes on equals one that was not interrupted, bit for bit."""

from __future__ import annotations

import csv
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau
from torchmetrics import MeanMetric

from lightning_distill import Distiller
from lightning_distill.callbacks import BestAndLast, EpochCsv
from lightning_distill.data import TensorDataModule
from lightning_distill.schedules import LinearWarmup

BATCHES = 7  # of an epoch
EPOCHS = 2


class Noisy(Distiller):
    """A distiller that logs in every way that Lightning knows, and draws random numbers outside of the network."""

    def __init__(self, **options: Any) -> None:
        torch.manual_seed(0)
        student = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 3))
        super().__init__(student, nn.Linear(4, 3), alpha=LinearWarmup(0.1, 0.9), **options)
        self.mean = MeanMetric()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        losses = super().training_step(batch, batch_idx)
        size, loss = len(batch.inputs), losses["loss"].detach()
        self.log("train/most", loss, on_step=False, on_epoch=True, reduce_fx="max", batch_size=size)
        self.log("train/both", loss, on_step=True, on_epoch=True, batch_size=size)
        self.mean(loss)
        self.log("train/mean", self.mean, on_step=False, on_epoch=True, batch_size=size)
        if batch_idx % 3 == 0:
            self.log("train/rare", loss, on_step=False, on_epoch=True, batch_size=size)
        return losses


def data(workers: int = 0) -> TensorDataModule:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(BATCHES * 4 - 1, 4, generator=generator)
    samples = (inputs, inputs[:, :3].argmax(1))
    return TensorDataModule(samples, samples, num_classes=3, batch_size=4, seed=5, workers=workers)


def plateau(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    return {
        "scheduler": ReduceLROnPlateau(optimizer, patience=0, threshold=0.5, factor=0.5),
        "monitor": "val/student_loss",
    }


def cosine(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    return {"scheduler": CosineAnnealingLR(optimizer, BATCHES * EPOCHS), "interval": "step"}


class Kill(pl.Callback):
    """An end without notice, at a given point."""

    def __init__(self, epoch: int, batch: int, moment: str) -> None:
        self.at = (epoch, batch, moment)

    def _maybe(self, trainer: pl.Trainer, batch: int, moment: str) -> None:
        if (trainer.current_epoch, batch, moment) == self.at:
            raise KeyboardInterrupt

    def on_train_batch_start(self, trainer: pl.Trainer, module: Any, batch: Any, batch_idx: int) -> None:
        self._maybe(trainer, batch_idx, "before")

    def on_before_optimizer_step(self, trainer: pl.Trainer, module: Any, optimizer: Any) -> None:
        self._maybe(trainer, trainer.fit_loop.batch_idx, "within")

    def on_validation_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if not trainer.sanity_checking:
            self._maybe(trainer, trainer.fit_loop.batch_idx, "validation")


SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "cosine": ({"scheduler": cosine}, {}),
    "plateau": ({"scheduler": plateau}, {}),
    "accumulate": ({"scheduler": cosine}, {"accumulate_grad_batches": 2}),
    "max_steps": ({"scheduler": cosine}, {"max_epochs": -1, "max_steps": BATCHES * EPOCHS - 2}),
    "two validations": ({"scheduler": plateau}, {"val_check_interval": 3}),
    "limit": ({}, {"limit_train_batches": 5}),
}


def fit(folder: Path, setting: str, kill: Kill | None, last: Path | None = None, workers: int = 0) -> None:
    module_options, trainer_options = SETTINGS[setting]
    pl.seed_everything(7, verbose=False)
    ema = pl.callbacks.EMAWeightAveraging(decay=0.9) if setting == "cosine" else None
    callbacks: list[Any] = [EpochCsv(folder / "log.csv"), BestAndLast(folder, every_n_steps=1), kill, ema]
    options: dict[str, Any] = {"accelerator": "cpu", "logger": False, "max_epochs": EPOCHS} | trainer_options
    trainer = pl.Trainer(
        **options,
        callbacks=[callback for callback in callbacks if callback is not None],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module = Noisy(optimizer=partial(torch.optim.AdamW, lr=0.05), **module_options)
    trainer.fit(module, datamodule=data(workers), ckpt_path=None if last is None else str(last), weights_only=True)


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Every leaf of nested mappings and lists by its path, tensors as lists."""
    if isinstance(value, dict):
        return {k: v for key, item in value.items() for k, v in flat(item, f"{path}/{key}").items()}
    if isinstance(value, (list, tuple)):
        return {k: v for index, item in enumerate(value) for k, v in flat(item, f"{path}/{index}").items()}
    return {path: value.tolist() if isinstance(value, torch.Tensor) else value}


def contents(folder: Path) -> dict[str, Any]:
    found = {
        name: flat(torch.load(folder / name, weights_only=True), name)
        for name in sorted(path.name for path in folder.glob("*.ckpt"))
    }
    for file in found.values():
        for key in [key for key in file if key.endswith("best_path")]:
            del file[key]
    with (folder / "log.csv").open() as file:
        rows = [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]
    return {**found, "csv": rows}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """What an uninterrupted run leaves, by setting."""
    known: dict[str, dict[str, Any]] = {}

    def get(setting: str) -> dict[str, Any]:
        if setting not in known:
            folder = tmp_path_factory.mktemp("whole")
            fit(folder, setting, None)
            known[setting] = contents(folder)
        return known[setting]

    return get


def slow(*values: Any) -> Any:
    return pytest.param(*values, marks=pytest.mark.slow)


POINTS = [
    ("plain", 0, 0, "before"),
    ("plain", 0, 1, "before"),
    slow("plain", 0, 4, "within"),
    slow("plain", 1, 3, "before"),
    ("plain", 1, 6, "validation"),
    ("cosine", 1, 2, "within"),
    slow("cosine", 0, 6, "validation"),
    ("plateau", 0, 5, "before"),
    slow("plateau", 1, 0, "before"),
    slow("plateau", 1, 4, "before"),
    slow("accumulate", 0, 3, "before"),
    ("accumulate", 1, 5, "within"),
    ("max_steps", 0, 0, "before"),
    slow("max_steps", 0, 5, "before"),
    slow("max_steps", 1, 0, "before"),
    ("max_steps", 1, 3, "before"),
    slow("two validations", 0, 2, "validation"),
    ("two validations", 1, 3, "before"),
    slow("two validations", 1, 4, "before"),
    slow("limit", 1, 4, "before"),
]


def check(tmp_path: Path, expected: dict[str, Any], setting: str, kill: Kill, workers: int = 0) -> None:
    with pytest.raises(SystemExit):  # what Lightning makes of Ctrl-C
        fit(tmp_path, setting, kill, workers=workers)
    fit(tmp_path, setting, None, tmp_path / "last.ckpt", workers)
    found = contents(tmp_path)
    assert found.pop("csv") == expected["csv"]
    for name, leaves in found.items():
        assert {k: v for k, v in leaves.items() if v != expected[name].get(k)} == {}, name
        assert leaves.keys() == expected[name].keys()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.ckpt", "last.ckpt", "log.csv"]


@pytest.mark.parametrize(("setting", "epoch", "batch", "moment"), POINTS)
def test_resume__equals_a_run_without_interruption(
    tmp_path: Path, whole: Callable[[str], dict[str, Any]], setting: str, epoch: int, batch: int, moment: str
) -> None:
    check(tmp_path, whole(setting), setting, Kill(epoch, batch, moment))


@pytest.mark.parametrize("setting", ["plain", "max_steps"])
def test_resume__twice_within_one_epoch(tmp_path: Path, whole: Callable[[str], dict[str, Any]], setting: str) -> None:
    with pytest.raises(SystemExit):
        fit(tmp_path, setting, Kill(1, 2, "before"))
    with pytest.raises(SystemExit):
        fit(tmp_path, setting, Kill(1, 4, "before"), tmp_path / "last.ckpt")
    fit(tmp_path, setting, None, tmp_path / "last.ckpt")
    assert contents(tmp_path) == whole(setting)


@pytest.mark.slow
@pytest.mark.parametrize(("epoch", "batch"), [(0, 4), (1, 0), (1, 2)])
def test_resume__with_workers_that_are_ahead(
    tmp_path: Path, whole: Callable[[str], dict[str, Any]], epoch: int, batch: int
) -> None:
    """Workers have fetched batches that were never used: the position is the Trainer's."""
    check(tmp_path, whole("plain"), "plain", Kill(epoch, batch, "before"), workers=2)
