"""Which epoch is kept, what a row says, how many samples were seen."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_distill.callbacks import BestAndLast, EpochCsv, SampleCount
from lightning_distill.callbacks.best_and_last import copy_atomically

LIMITS = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}


class Scripted(pl.LightningModule):
    """Logs the given value in each validation."""

    def __init__(self, values: list[float], name: str = "val/accuracy") -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.values, self.name = values, name

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss: Tensor = self.layer(batch[0]).square().mean()
        self.log("train/loss", loss, on_epoch=True, on_step=False)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log(self.name, self.values[self.current_epoch])

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test/zero", 0.0)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return partial(torch.optim.SGD, lr=0.5)(self.parameters())


def loader(samples: int = 10) -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.ones(samples, 2), torch.zeros(samples)), batch_size=4)


def fit(values: list[float], *callbacks: pl.Callback, name: str = "val/accuracy", **options: Any) -> pl.Trainer:
    trainer = pl.Trainer(**LIMITS, max_epochs=len(values), callbacks=list(callbacks), **options)  # type: ignore[arg-type]
    trainer.fit(Scripted(values, name), loader(), loader(), weights_only=True)
    return trainer


@pytest.mark.parametrize(
    ("mode", "values", "epoch", "score"),
    [
        ("max", [0.1, 0.5, 0.3], 1, 0.5),
        ("max", [0.5, 0.5, 0.3], 1, 0.5),
        ("min", [0.5, 0.2, 0.3], 1, 0.2),
        ("max", [0.5, float("nan"), 0.3], 0, 0.5),
    ],
)
def test_best__of_equals_the_later(tmp_path: Path, mode: str, values: list[float], epoch: int, score: float) -> None:
    keeper = BestAndLast(tmp_path, mode=mode)
    fit(values, keeper)
    assert (keeper.best_epoch, keeper.best_score) == (epoch, pytest.approx(score))
    assert torch.load(keeper.best, weights_only=True)["epoch"] == epoch
    assert torch.load(keeper.last, weights_only=True)["epoch"] == len(values) - 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.ckpt", "last.ckpt"]


def test_best__epochs_without_validation_do_not_count(tmp_path: Path) -> None:
    keeper = BestAndLast(tmp_path)
    fit([0.9, 0.5, 0.9, 0.5], keeper, check_val_every_n_epoch=2)
    assert (keeper.best_epoch, keeper.best_score) == (3, 0.5)


def test_best__without_validation_the_last(tmp_path: Path) -> None:
    keeper = BestAndLast(tmp_path)
    fit([0.9, 0.5], keeper, limit_val_batches=0)
    assert (keeper.best_epoch, keeper.best_score) == (1, None)


def test_best__that_is_not_logged(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"to log `val/accuracy`, by which the best epoch is chosen, but got \['train"):
        fit([0.1], BestAndLast(tmp_path), name="val/other")


def test_best__mode() -> None:
    with pytest.raises(ValueError, match="Expected `mode` to be 'max' or 'min', but got 'most'"):
        BestAndLast("folder", mode="most")


def resume(values: list[float], source: Path, *callbacks: pl.Callback) -> None:
    trainer = pl.Trainer(**LIMITS, max_epochs=len(values), callbacks=list(callbacks))  # type: ignore[arg-type]
    trainer.fit(Scripted(values), loader(), loader(), ckpt_path=str(source), weights_only=True)


def test_resume__brings_the_best_along(tmp_path: Path) -> None:
    fit([0.9, 0.1], first := BestAndLast(tmp_path / "first"))
    resume([0.9, 0.1, 0.5], first.last, second := BestAndLast(tmp_path / "second"))
    assert (second.best_epoch, second.best_score) == (0, pytest.approx(0.9))
    assert second.best.read_bytes() == first.best.read_bytes()


def test_resume__of_a_finished_fit_has_its_best(tmp_path: Path) -> None:
    fit([0.9, 0.1], first := BestAndLast(tmp_path / "first"))
    resume([0.9, 0.1], first.last, second := BestAndLast(tmp_path / "second"))
    assert second.best.read_bytes() == first.best.read_bytes()


def test_resume__says_that_the_best_is_gone(tmp_path: Path) -> None:
    fit([0.9, 0.1], first := BestAndLast(tmp_path / "first"))
    first.best.unlink()
    with pytest.warns(UserWarning, match="is gone: the best epoch is chosen from here on"):
        resume([0.9, 0.1, 0.5], first.last, second := BestAndLast(tmp_path / "second"))
    assert second.best_epoch == 2


def test_csv__columns_grow_and_repeated_epochs_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "stage.csv"
    path.write_text("epoch,step,lr,old\n0,3,0.5,1\n1,6,0.5,2\n")
    fit([0.9], EpochCsv(path), BestAndLast(tmp_path))
    assert path.read_text().splitlines()[0] == "epoch,step,lr,seconds,train/loss,val/accuracy"  # a new run
    path.write_text("epoch,step,lr,old\n0,3,0.5,1\n1,6,0.5,2\n")
    resume([0.9, 0.1], tmp_path / "last.ckpt", EpochCsv(path), BestAndLast(tmp_path))
    header, zero, one = path.read_text().splitlines()
    assert header == "epoch,step,lr,seconds,old,train/loss,val/accuracy"
    assert zero == "0,3,0.5,,1,,"
    assert one.startswith("1,6,0.5,0.")
    assert one.endswith(",0.1")


def test_count__over_uneven_batches() -> None:
    counter = SampleCount()
    trainer = pl.Trainer(**LIMITS, callbacks=[counter])  # type: ignore[arg-type]
    for samples in (10, 7):
        trainer.test(Scripted([0.0]), loader(samples), verbose=False)
        assert counter.count == samples


def test_copy__of_a_folder_replaces_it_whole(tmp_path: Path) -> None:
    for name, content in (("new", "a"), ("old", "b")):
        (tmp_path / name).mkdir()
        (tmp_path / name / content).write_text(content)
    copy_atomically(tmp_path / "new", tmp_path / "old")
    assert [path.name for path in (tmp_path / "old").iterdir()] == ["a"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "old"]


@pytest.mark.parametrize("mode", ["max", "min"])
def test_best__nan_is_worse_than_any_number(mode: str, tmp_path: Path) -> None:
    """A first epoch that gives NaN would otherwise be the best one for ever: nothing compares with NaN."""
    keeper = BestAndLast(tmp_path, mode=mode)
    chosen = []
    for score in (float("nan"), float("nan"), 0.1, float("nan"), 0.5, 0.3):
        if keeper._is_better(score, validates=True):
            keeper.best_score = score
            chosen.append(score)
    assert [str(score) for score in chosen] == ["nan", "nan", "0.1", *(["0.5"] if mode == "max" else [])]
