"""Two checkpoints per stage, under names that do not change: the best epoch's and the last one's."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_distill.engine import pl


class BestAndLast(pl.callbacks.Checkpoint):
    """Keeps ``best.ckpt`` and ``last.ckpt``, both written at the end of an epoch, and ``last.ckpt`` also at the start.

    Lightning's ``ModelCheckpoint`` writes ``last.ckpt`` only in epochs that were the best so far, numbers its files
    when one exists, and forgets the best score when a run goes on in another folder. This one does none of that, and
    makes up for what Lightning loses between the end of an epoch and the next: a resumed run equals an uninterrupted
    one bit for bit, in its files and in the epoch that is chosen.

    Args:
        folder: Where the two files go.
        monitor: The logged value that decides; without validation batches, the last epoch is the best one.
        mode: ``"max"`` or ``"min"``. Of equal epochs the later one counts, which is the calmer one with a
            learning rate that falls: on small validation sets many epochs are equal.

    Attributes:
        best_score: The best value so far, ``None`` before the first epoch.
        best_epoch: The epoch that it came from, counted from 0.
    """

    def __init__(self, folder: str | Path, monitor: str = "val/accuracy", mode: str = "max") -> None:
        super().__init__()
        if mode not in ("max", "min"):
            raise ValueError(f"Expected `mode` to be 'max' or 'min', but got {mode!r}.")
        self.folder = Path(folder)
        self.monitor = monitor
        self.mode = mode
        self.best_score: float | None = None
        self.best_epoch: int | None = None
        self._validated = False
        self._plateaus: dict[int, float] = {}
        self._restored: dict[str, Any] | None = None

    @property
    def best(self) -> Path:
        """The checkpoint of the best epoch."""
        return self.folder / "best.ckpt"

    @property
    def last(self) -> Path:
        """The checkpoint of the last finished epoch."""
        return self.folder / "last.ckpt"

    @property
    def state_key(self) -> str:
        return "BestAndLast"

    def state_dict(self) -> dict[str, Any]:
        return {
            "best_score": self.best_score,
            "best_epoch": self.best_epoch,
            "best_path": str(self.best.absolute()),
            "plateaus": self._plateaus,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_score, self.best_epoch = state_dict["best_score"], state_dict["best_epoch"]
        self._restored = dict(state_dict)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._restored is not None:
            self._adopt_best(trainer, Path(self._restored["best_path"]))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._restored is not None and trainer.global_step > 0:
            step_plateaus(trainer, pl_module, self._restored["plateaus"])
            start_next_epoch(trainer)
        self._restored = None
        if trainer.global_step == 0:
            # An interruption within the first epoch, too, leaves something to go on from.
            trainer.save_checkpoint(self.last, weights_only=False)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        score = self._score(trainer) if self._validated else None
        self._validated = False
        self._plateaus = plateau_values(trainer)
        # The best one first: if the process dies between the two, the epoch is repeated and chosen again.
        if trainer.strategy.reduce_boolean_decision(self._is_better(score, trainer.enable_validation)):
            self.best_score, self.best_epoch = score, trainer.current_epoch
            trainer.save_checkpoint(self.best, weights_only=False)
        trainer.save_checkpoint(self.last, weights_only=False)

    def _score(self, trainer: pl.Trainer) -> float:
        score = trainer.callback_metrics.get(self.monitor)
        if score is None:
            raise ValueError(
                f"Expected the distiller to log `{self.monitor}`, by which the best epoch is chosen, but got "
                f"{sorted(trainer.callback_metrics)}."
            )
        return float(score)

    def _is_better(self, score: float | None, validates: bool) -> bool:
        if score is None:
            # An epoch without validation: the best so far if there is nothing to compare.
            return not validates or self.best_epoch is None
        if self.best_score is None:
            return True
        return score >= self.best_score if self.mode == "max" else score <= self.best_score

    def _adopt_best(self, trainer: pl.Trainer, source: Path) -> None:
        """Bring along the best checkpoint of a run that goes on in another folder."""
        if self.best_epoch is None or source == self.best.absolute():
            return
        if not source.exists():
            pl.utilities.rank_zero_warn(
                f"The best checkpoint so far, {source}, is gone: the best epoch is chosen from here on."
            )
            self.best_score = self.best_epoch = None
        elif trainer.is_global_zero:
            copy_atomically(source, self.best)
        trainer.strategy.barrier("adopt_best")


def plateau_values(trainer: pl.Trainer) -> dict[int, float]:
    """What schedulers that follow a value will be told after this epoch's checkpoint was written, by position."""
    due = {
        index: trainer.callback_metrics.get(str(config.monitor))
        for index, config in enumerate(trainer.lr_scheduler_configs)
        if config.reduce_on_plateau
        and config.interval == "epoch"
        and not (trainer.current_epoch + 1) % config.frequency
    }
    return {index: float(value) for index, value in due.items() if value is not None}


def step_plateaus(trainer: pl.Trainer, pl_module: pl.LightningModule, values: Mapping[int, float]) -> None:
    """Tell schedulers what they were told after the checkpoint was written: Lightning steps them last in an epoch."""
    for index, value in values.items():
        pl_module.lr_scheduler_step(trainer.lr_scheduler_configs[index].scheduler, value)


def start_next_epoch(trainer: pl.Trainer) -> None:
    """Go on with the epoch after the one that the checkpoint ended.

    With ``max_steps``, Lightning would otherwise end that epoch a second time, without batches, and be one epoch ahead
    in the order of the samples from then on.
    """
    loop = trainer.fit_loop
    current: Any
    for current in (loop.epoch_progress.current, loop.epoch_progress.total):
        current.completed = current.started = current.ready = current.processed
    # Past the loop's own setter, which keeps it set.
    pl.loops.loop._Loop.restarting.fset(loop, False)  # type: ignore[attr-defined]
    loop.reset_restart_stage()


def copy_atomically(source: Path, target: Path) -> None:
    """Copy a file or a folder so that ``target`` is either absent, old or complete."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    if source.is_dir():
        shutil.copytree(source, part)
        shutil.rmtree(target, ignore_errors=True)
    else:
        shutil.copyfile(source, part)
    os.replace(part, target)
