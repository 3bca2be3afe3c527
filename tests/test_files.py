"""A file is old, or new, or not there."""

from __future__ import annotations

import errno
import os
import resource
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from lightning_distill.callbacks import AtomicCheckpointIO, BestAndLast
from lightning_distill.files import part_of, put, recover, replacing, sweep
from lightning_distill.weights import save_weights


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def small_files() -> Iterator[None]:
    """No file of more than 1000 bytes: what a full disk does to a process, without one. Nor one that pytest writes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_replacing__an_error_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def write() -> None:
        with replacing(path) as part:
            part.write_text("ne")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_replacing__permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        save_weights(nn.Linear(2, 2), tmp_path / "weights.safetensors")
        with replacing(tmp_path / "text") as part:
            part.write_text("new")
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o640}


def test_replacing__a_folder(tmp_path: Path) -> None:
    for content in ("first", "second"):
        with replacing(tmp_path / "folder") as part:
            part.mkdir()
            (part / content).write_text(content)
    assert names(tmp_path) == ["folder"]
    assert names(tmp_path / "folder") == ["second"]


def test_recover__a_folder_that_was_being_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, part = tmp_path / "folder", part_of(tmp_path / "folder")
    for path in (folder, part):
        path.mkdir()
    (folder / "old").write_text("")
    rename, calls = os.rename, []

    def dies(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) == 2:
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(os, "rename", dies)
    with pytest.raises(KeyboardInterrupt):
        put(part, folder)
    monkeypatch.undo()
    assert not folder.exists()
    recover(folder)
    assert names(folder) == ["old"]


def test_sweep__deletes_what_is_half_written(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt.part").mkdir()
    (tmp_path / ".student.pt2.x7_y.part").mkdir()
    (tmp_path / "sub").mkdir()
    ours = ("last.ckpt.12.part", "weights.safetensors.12.part.mode.part", "last.ckpt.part/0.distcp")
    others = ("last.ckpt", "film.part", "sub/metrics.json.3.part")  # the last one: of a run in a folder below
    for name in (*ours, *others):
        (tmp_path / name).write_text("")
    sweep(tmp_path)
    assert names(tmp_path) == ["film.part", "last.ckpt", "sub"]
    assert names(tmp_path / "sub") == ["metrics.json.3.part"]


def write_text(path: Path) -> None:
    with replacing(path) as part:
        part.write_text("x" * 2000)


WRITERS: dict[str, Callable[[Path], object]] = {
    "text": write_text,
    "weights": lambda path: save_weights(nn.Linear(20, 20), path),
    "checkpoint": lambda path: AtomicCheckpointIO().save_checkpoint({"weight": torch.ones(999)}, path),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_full_disk__says_which_file_and_keeps_the_old_one(tmp_path: Path, writer: str) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with (
        pytest.raises(OSError, match=r"Expected room on the disk for .*file, .* is unchanged\. Make room") as raised,
        small_files(),
    ):
        WRITERS[writer](path)
    assert raised.value.errno == errno.ENOSPC
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


class Small(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return self.layer(batch).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Fill(pl.Callback):
    """The disk is full from the second epoch on."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def test_full_disk__the_previous_checkpoint_survives(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    options = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    try:
        with pytest.raises(OSError, match=r"Expected room on the disk for .*best\.ckpt"):
            pl.Trainer(**options, max_epochs=3, callbacks=[BestAndLast(tmp_path), Fill()]).fit(  # type: ignore[arg-type]
                Small(), torch.utils.data.DataLoader(torch.ones(4, 2))
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path) == ["best.ckpt", "last.ckpt"]
    assert {torch.load(path, weights_only=True)["epoch"] for path in tmp_path.iterdir()} == {0}


def test_atomic_io__is_a_plugin_of_any_trainer(tmp_path: Path) -> None:
    trainer = pl.Trainer(accelerator="cpu", logger=False, plugins=AtomicCheckpointIO(), default_root_dir=tmp_path)
    assert isinstance(trainer.strategy.checkpoint_io, AtomicCheckpointIO)
    trainer.strategy.checkpoint_io.save_checkpoint({"a": 1}, tmp_path / "sub/x.ckpt")
    assert trainer.strategy.checkpoint_io.load_checkpoint(tmp_path / "sub/x.ckpt") == {"a": 1}
