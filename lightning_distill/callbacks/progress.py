"""What a long stage shows while it runs."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console

from lightning_distill.engine import pl
from lightning_distill.types import as_batch, batch_size_of


class StageProgress(pl.callbacks.RichProgressBar):
    """Lightning's Rich bar, with samples per second and the time that the whole training still takes.

    Lightning's own estimate ends with the epoch. Where the output is no terminal and no notebook, nothing is shown: a
    log file does not fill up with bars.

    Args:
        refresh_rate: Updates per second. Steps between two of them cost next to nothing: Lightning's bar, which
            collects its numbers and draws itself in every step, takes longer than a short step itself.
        leave: Keep the bar of every epoch on the screen.
        console_kwargs: For Rich's console.

    Example:
        >>> StageProgress(console_kwargs={"force_terminal": False}).is_enabled
        False
    """

    def __init__(
        self, refresh_rate: int = 10, leave: bool = False, console_kwargs: dict[str, Any] | None = None
    ) -> None:
        super().__init__(refresh_rate=refresh_rate, leave=leave, console_kwargs=console_kwargs)
        console = Console(**(console_kwargs or {}))
        if not (console.is_terminal or console.is_jupyter):
            self.disable()
        self._start = self._drawn = 0.0
        self._first_step = 0
        self._samples = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start, self._first_step, self._samples = time.perf_counter(), trainer.global_step, 0
        super().on_train_start(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not self.is_enabled:
            return
        unpack = getattr(pl_module, "unpack_batch", as_batch)
        self._samples += batch_size_of(unpack(batch).inputs) * trainer.world_size
        now = time.perf_counter()
        if now - self._drawn >= 1 / self.refresh_rate or batch_idx + 1 >= trainer.num_training_batches:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
            self._drawn = now

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        shown = dict(super().get_metrics(trainer, pl_module))
        shown.pop("v_num", None)
        elapsed = time.perf_counter() - self._start
        if trainer.training and self._samples and elapsed > 0:
            shown["samples/s"] = f"{self._samples / elapsed:,.0f}"
            shown["left"] = time_left(elapsed, trainer.global_step - self._first_step, self._steps_left(trainer))
        return shown

    def _steps_left(self, trainer: pl.Trainer) -> float:
        return float(trainer.estimated_stepping_batches) - trainer.global_step


def time_left(elapsed: float, done: int, left: float) -> str:
    """How long the rest takes at the pace so far.

    Example:
        >>> time_left(elapsed=60.0, done=100, left=200.0), time_left(60.0, 0, 200.0), time_left(60.0, 1, float("inf"))
        ('0:02:00', '?', '?')
    """
    if done <= 0 or left == float("inf"):
        return "?"
    seconds = round(elapsed / done * max(0.0, left))
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
