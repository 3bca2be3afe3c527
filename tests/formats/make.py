"""Writes ``version_<n>``: one small file of each kind. Run once per format, never again for one that was released.

``python -m tests.formats.make 1``
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_distill import Distiller
from lightning_distill.callbacks import BestAndLast
from lightning_distill.distillers import Term
from lightning_distill.losses import VIDLoss
from lightning_distill.report import RunFolder
from lightning_distill.weights import read_content
from tests.teachers.store.cases import header, write

HERE = Path(__file__).parent


def inputs() -> Tensor:
    """What the networks see."""
    return torch.linspace(-1, 1, 32).reshape(8, 4)


def student() -> nn.Module:
    """The student of ``last.ckpt`` and ``student.safetensors``, before its weights are read."""
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))


def options() -> dict[str, Any]:
    """What the distiller of ``last.ckpt`` was given: with a term that trains parameters of its own."""
    torch.manual_seed(1)
    return {
        "student": student(),
        "teacher": nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)),
        "terms": {"vid": Term(VIDLoss, 1.0, "1", "1")},
        "optimizer": partial(torch.optim.AdamW, lr=1e-2),
        "example_input": inputs()[:2],
    }


def trainer(folder: Path, epochs: int) -> pl.Trainer:
    """A Trainer that writes ``last.ckpt`` and nothing else."""
    keeper = BestAndLast(folder, every_n_seconds=None)
    return pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=[keeper],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def loader() -> DataLoader[tuple[Tensor, ...]]:
    """Two batches."""
    return DataLoader(TensorDataset(inputs(), torch.arange(8) % 2), batch_size=4)


def make(version: int) -> None:
    folder = HERE / f"version_{version}"
    trained = Distiller(alpha=0.3, **options())
    trainer(folder, epochs=2).fit(trained, loader(), loader())
    (folder / "best.ckpt").unlink()
    content = read_content(folder / "last.ckpt")
    content["callbacks"]["BestAndLast"]["best_path"] = "best.ckpt"  # not where this machine has it
    torch.save(content, folder / "last.ckpt")
    trained.save_weights(folder / "student.safetensors")
    torch.save(trained(inputs()).detach(), folder / "logits.pt")
    run = RunFolder(folder / "run")
    run.write("teacher", {"test/accuracy": 0.9})
    run.write("student", {"test/accuracy": 0.8, "parameters": 23})
    run.write("run", {"seed": 0, "alpha": 0.3, "finished": True})
    (folder / "store").mkdir()
    write(folder / "store", header())
    for lock in folder.rglob("*.lock"):
        lock.unlink()


if __name__ == "__main__":
    make(int(sys.argv[1]))
