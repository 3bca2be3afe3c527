"""How many samples a test saw."""

from __future__ import annotations

from typing import Any

import torch

from lightning_distill.engine import pl
from lightning_distill.types import as_batch, batch_size_of


class SampleCount(pl.callbacks.Callback):
    """Counts test samples over all processes, so that a difference can be judged by its standard error.

    Attributes:
        count: Samples in the last test; known when it has ended.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self._seen = 0

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._seen = 0

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        unpack = getattr(pl_module, "unpack_batch", as_batch)
        self._seen += batch_size_of(unpack(batch).inputs)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        seen = torch.tensor(float(self._seen), device=pl_module.device)
        self.count = int(trainer.strategy.reduce(seen, reduce_op="sum"))
