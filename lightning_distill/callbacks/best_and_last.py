"""Two checkpoints per stage, under names that do not change: the best epoch's and the last one."""

from __future__ import annotations

import math
import shutil
import time
from pathlib import Path
from typing import Any

import torch

from lightning_distill.callbacks.mid_epoch import Position, between_batches, without_loader_states
from lightning_distill.checks import check_positive
from lightning_distill.distillers.sharding import SHARDING
from lightning_distill.engine import pl
from lightning_distill.files import part_of, put, remove, replacing, sweep, writing
from lightning_distill.stop import Stop

# With several processes, they agree on stopping and on saving by time once in so many batches: it costs a message.
AGREE_EVERY = 10


class BestAndLast(pl.callbacks.Checkpoint):
    """Keeps ``best.ckpt``, written at the end of an epoch, and ``last.ckpt``, also written at the start and in between.

    Lightning's ``ModelCheckpoint`` writes ``last.ckpt`` only in epochs that were the best so far, numbers its files
    when one exists, and forgets the best score when a run goes on in another folder. This one does none of that, and
    keeps what Lightning's checkpoints lack (see :class:`~lightning_distill.callbacks.mid_epoch.Position`): a resumed
    run equals an uninterrupted one bit for bit, in its files and in the epoch that is chosen, wherever it was killed.
    A file is either old or new, never half-written.

    Args:
        folder: Where the two files go.
        monitor: The logged value that decides; without validation batches, the last epoch is the best one.
        mode: ``"max"`` or ``"min"``. Of equal epochs the later one counts, which is the calmer one with a
            learning rate that falls: on small validation sets many epochs are equal.
        every_n_steps: Also write ``last.ckpt`` after every so many optimizer steps.
        every_n_seconds: Also write it when the last one is so old.
        stop: Signals on which to write it and end; ``None`` leaves signals to Lightning.

    Attributes:
        best_score: The best value so far, ``None`` before the first epoch.
        best_epoch: The epoch that it came from, counted from 0.
    """

    def __init__(
        self,
        folder: str | Path,
        monitor: str = "val/accuracy",
        mode: str = "max",
        every_n_steps: int | None = None,
        every_n_seconds: float | None = 600,
        stop: Stop | None = None,
    ) -> None:
        super().__init__()
        if mode not in ("max", "min"):
            raise ValueError(f"Expected `mode` to be 'max' or 'min', but got {mode!r}.")
        for name, value in (("every_n_steps", every_n_steps), ("every_n_seconds", every_n_seconds)):
            if value is not None:
                check_positive(name, value)
        if every_n_steps is not None and not isinstance(every_n_steps, int):
            raise ValueError(f"Expected `every_n_steps` to be a whole number, but got {every_n_steps!r}.")
        self.folder = Path(folder)
        self.monitor, self.mode = monitor, mode
        self.every_n_steps, self.every_n_seconds = every_n_steps, every_n_seconds
        self.stop = stop
        self.best_score: float | None = None
        self.best_epoch: int | None = None
        self._validated = False
        self._position = Position()
        self._taken: dict[str, Any] | None = None
        self._saved = (0, 0.0)  # the step and the time of the last checkpoint
        self._restored: dict[str, Any] | None = None

    @property
    def best(self) -> Path:
        """The checkpoint of the best epoch."""
        return self.folder / "best.ckpt"

    @property
    def last(self) -> Path:
        """The last checkpoint."""
        return self.folder / "last.ckpt"

    @property
    def state_key(self) -> str:
        return "BestAndLast"

    def state_dict(self) -> dict[str, Any]:
        return {
            "best_score": self.best_score,
            "best_epoch": self.best_epoch,
            "best_path": str(self.best.absolute()),
            "position": self._taken,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_score, self.best_epoch = state_dict["best_score"], state_dict["best_epoch"]
        self._restored = dict(state_dict)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero and self.folder.is_dir():
            sweep(self.folder)
        if self._restored is not None:
            self._adopt_best(trainer, Path(self._restored["best_path"]))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._saved = (trainer.global_step, time.monotonic())
        position = None if self._restored is None else self._restored["position"]
        self._restored = None
        if position is not None:
            self._position.restore(trainer, pl_module, position)
        # An interruption within the first epoch, too, leaves something to go on from. Not where the optimizer is in
        # shards: to save a state that is empty yet, torch makes it by a step, which counts in Adam's corrections, and
        # Lightning does not load an empty one of FSDP.
        if trainer.global_step == 0 and not isinstance(trainer.strategy, SHARDING):
            self._taken = self._position.take(trainer, pl_module, within_epoch=False)
            self._save(trainer, self.last)
        if self.stop is not None:
            self.stop.listen()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self._position.on_batch_end(trainer)
        self._taken = self._position.take(trainer, pl_module, True) if self._is_due(trainer) else None

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._validated = not trainer.sanity_checking
        if self._taken is not None:
            self._taken = self._position.take(trainer, pl_module, True)  # random numbers may have been drawn since

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        # Here rather than at the end of a batch, after which Lightning may still validate and step schedulers.
        self._position.on_batch_start(trainer)
        if self._taken is not None:
            self._taken["batches"] = trainer.fit_loop.epoch_loop.batch_progress.current.completed
            self._save(trainer, self.last)
            self._end_if_asked(trainer)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        without_loader_states(checkpoint)
        if self._taken is not None and self._taken["batches"]:
            between_batches(checkpoint)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        score = self._score(trainer) if self._validated else None
        self._validated = False
        position = self._position.take(trainer, pl_module, within_epoch=False)
        # The best one first: if the process dies between the two, the epoch is repeated and chosen again.
        if trainer.strategy.reduce_boolean_decision(self._is_better(score, trainer.enable_validation)):
            self.best_score, self.best_epoch = score, trainer.current_epoch
            self._taken = position
            self._save(trainer, self.best)
        self._taken = position
        self._save(trainer, self.last)
        self._end_if_asked(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.stop is not None:
            self.stop.ignore()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if self.stop is not None:
            self.stop.ignore()

    def _is_due(self, trainer: pl.Trainer) -> bool:
        if trainer.fit_loop._should_accumulate():
            return False  # gradients are in no checkpoint
        step, at = self._saved
        if self.every_n_steps is not None and trainer.global_step - step >= self.every_n_steps:
            return True
        wished = self.every_n_seconds is not None and time.monotonic() - at >= self.every_n_seconds
        wished = wished or (self.stop is not None and self.stop.signal is not None)
        if trainer.world_size == 1:
            return wished
        agree = trainer.fit_loop.total_batch_idx % AGREE_EVERY == 0
        return agree and trainer.strategy.reduce_boolean_decision(wished, all=False)

    def _save(self, trainer: pl.Trainer, path: Path) -> None:
        """Write a checkpoint aside, then put it in its place: a file, or a folder where a strategy writes parts."""
        for logger in trainer.loggers:
            logger.save()  # what is logged later is logged again by a run that goes on from here
        part = part_of(path) if trainer.world_size == 1 else path.with_name(f"{path.name}.part")
        try:
            with writing(path):
                trainer.save_checkpoint(part, weights_only=False)
                if trainer.is_global_zero:
                    put(part, path)
        except BaseException:  # as `replacing` does, for a name that several processes share
            remove(part)
            raise
        trainer.strategy.barrier("BestAndLast")
        self._taken = None
        self._saved = (trainer.global_step, time.monotonic())

    def _end_if_asked(self, trainer: pl.Trainer) -> None:
        """End in all processes or in none: a signal reaches them one after another, or only one of them."""
        if self.stop is None:
            return
        own = torch.tensor(self.stop.signal or 0, device=trainer.strategy.root_device)
        asked = own if trainer.world_size == 1 else trainer.strategy.reduce(own, reduce_op="max")
        if int(asked):
            self.stop.signal = int(asked)
            raise self.stop.request()

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
        if self.best_score is None or math.isnan(self.best_score):
            return True  # NaN is no worse than NaN, and worse than any number
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


def copy_atomically(source: Path, target: Path) -> None:
    """Copy a file or a folder so that ``target`` is either absent, old or complete."""
    with replacing(target) as part:
        if source.is_dir():
            shutil.copytree(source, part)
        else:
            shutil.copyfile(source, part)
