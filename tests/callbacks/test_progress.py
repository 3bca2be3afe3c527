"""The bar: losses, throughput and what is left on a terminal, nothing elsewhere."""

from __future__ import annotations

import io
import re

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_distill import Distiller
from lightning_distill.callbacks import StageProgress
from lightning_distill.engine import pl


class Sgd(Distiller):
    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def shown(**console: object) -> str:
    """What a training of two epochs writes."""
    file = io.StringIO()
    samples = TensorDataset(torch.randn(12, 4), torch.tensor([0, 1, 2] * 4))
    loader = DataLoader(samples, batch_size=4)
    bar = StageProgress(console_kwargs={"file": file, "width": 200, **console})
    options = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = pl.Trainer(max_epochs=2, callbacks=[bar], **options)  # type: ignore[arg-type]
    trainer.fit(Sgd(nn.Linear(4, 3), nn.Linear(4, 3)), loader, loader)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())


@pytest.fixture(autouse=True)
def console() -> object:
    """Lightning's bar replaces Rich's global console; put it back."""
    import rich

    before = rich.get_console().__dict__.copy()
    yield
    rich.get_console().__dict__ = before


def test_progress__on_a_terminal() -> None:
    said = shown(force_terminal=True)
    for part in ("Epoch 1/1", "train/loss", "val/accuracy", "samples/s", "left: 0:00:00"):
        assert part in said, part


def test_progress__is_silent_elsewhere() -> None:
    assert shown(force_terminal=False) == ""
