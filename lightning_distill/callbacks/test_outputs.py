"""What a network said about every test sample."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors

from lightning_distill.engine import pl
from lightning_distill.types import as_batch

# Test sets beyond this many logits are not kept: 256 MB in float32, as 50,000 samples of 1,000 classes nearly are.
MOST_LOGITS = 2**26


class TestOutputs(pl.Callback):
    """Keeps logits, labels and sample ids of a test of single-label classification; nothing of any other.

    Attributes:
        found: ``logits [N, C]``, ``target [N]`` and, where the batches hold them, ``sample_ids [N]``, of all
            processes; empty if the task is another one. Known when the test has ended.
    """

    __test__ = False  # for pytest: no tests in here

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, Tensor] = {}
        self._parts: dict[str, list[Tensor]] = {}
        self._count = 0
        self._kept = True

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.found, self._parts, self._count, self._kept = {}, {}, 0, True

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        batch = getattr(pl_module, "unpack_batch", as_batch)(batch)
        if not self._kept or not is_classification(outputs, batch.target):
            self._kept = False
            return
        self._count += outputs.numel()
        if self._count * trainer.world_size > MOST_LOGITS:
            self._kept = False
            return
        rows = {"logits": outputs.float(), "target": batch.target, "sample_ids": batch.sample_ids}
        for name, values in rows.items():
            if values is not None:
                self._parts.setdefault(name, []).append(values.detach().cpu())

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # As one decision, since gathering takes all processes.
        kept = trainer.strategy.reduce_boolean_decision(self._kept and bool(self._parts), all=True)
        if kept:
            joined = {name: torch.cat(parts) for name, parts in self._parts.items()}
            self.found = {name: _gathered(values, trainer, pl_module) for name, values in joined.items()}
        self._parts = {}


def is_classification(logits: Any, target: Any) -> bool:
    """Whether these are logits ``[B, C]`` and class indices ``[B]``."""
    if not isinstance(logits, Tensor) or not isinstance(target, Tensor) or logits.ndim != 2 or logits.shape[1] < 2:
        return False
    return target.ndim == 1 and not target.is_floating_point() and bool((target >= 0).all())


def _gathered(values: Tensor, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Tensor:
    if trainer.world_size == 1:
        return values
    return torch.cat([part.cpu() for part in gather_all_tensors(values.to(pl_module.device))])
