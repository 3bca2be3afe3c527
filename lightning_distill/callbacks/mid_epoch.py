"""Everything that makes the rest of a run what it is, beyond what Lightning's checkpoints hold, and going on from it.

Lightning restores weights, optimizers, schedulers, callbacks and counters. It does not restore random generators, what
was averaged in this epoch, and the position in the data; and it replays parts of an epoch that was saved at its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from lightning_distill.callbacks.random_state import random_state, set_random_state
from lightning_distill.callbacks.running_means import merge_logged, restore_metrics, running_means
from lightning_distill.data.resumed import set_epoch, starting_at
from lightning_distill.engine import pl
from lightning_distill.processes import from_all


class Position:
    """Where a run stands: taken between two batches or at the end of an epoch, and restored when it goes on."""

    def __init__(self) -> None:
        self._waiting: dict[str, Any] = {}
        self._check_every: Any = None

    def take(self, trainer: pl.Trainer, module: pl.LightningModule, within_epoch: bool) -> dict[str, Any]:
        """Plain values and tensors. All processes call this together: each has its own generators and sums."""
        own: dict[str, Any] = {"random": random_state()}
        if within_epoch:
            own |= running_means(trainer, module)
            own["logged"] |= self._waiting  # sums of names that have not been logged again yet
        else:
            self._waiting = {}
        return {
            "batches": trainer.fit_loop.epoch_loop.batch_progress.current.completed if within_epoch else 0,
            "shown": {name: float(value) for name, value in trainer._logger_connector._callback_metrics.items()},
            "plateaus": {} if within_epoch else plateau_values(trainer),
            "processes": from_all(own),
        }

    def restore(self, trainer: pl.Trainer, module: pl.LightningModule, state: Mapping[str, Any]) -> None:
        """Go on from ``state``; called when Lightning has loaded its part, before the first batch."""
        trainer.callback_metrics.update(
            {name: torch.tensor(value, dtype=torch.float64) for name, value in state["shown"].items()}
        )
        own = state["processes"][trainer.global_rank] if len(state["processes"]) == trainer.world_size else {}
        if not own:
            pl.utilities.rank_zero_warn(
                f"The run goes on with {trainer.world_size} processes after {len(state['processes'])}: random numbers "
                "are other ones from here on."
            )
        if state["batches"]:
            self._enter_epoch(trainer, state["batches"])
            restore_metrics(module, own.get("metrics", {}))
            self._waiting = dict(own.get("logged", {}))
        set_random_state(own.get("random"))
        if not state["batches"]:
            start_next_epoch(trainer)
            if trainer.global_step > 0:
                step_plateaus(trainer, module, state["plateaus"])
                start_pass(trainer)  # what it draws comes after the checkpoint in an uninterrupted run, too

    def _enter_epoch(self, trainer: pl.Trainer, batches: int) -> None:
        """Have the first pass through the training data start at a batch that has not been used."""
        loop = trainer.fit_loop
        loaders: Any = loop._combined_loader
        loaders.flattened = [starting_at(loader, batches) for loader in loaders.flattened]
        start_pass(trainer)
        # Lightning would take the whole epoch for a repetition, and leave out schedulers at its end ...
        loop._restarting = False
        # ... and a validation for one that is still to come, where one ended just before the checkpoint.
        self._check_every, trainer.val_check_batch = trainer.val_check_batch, float("inf")

    def on_batch_start(self, trainer: pl.Trainer) -> None:
        """The first batch has started: validate as often as before."""
        if self._check_every is not None:
            trainer.val_check_batch, self._check_every = self._check_every, None

    def on_batch_end(self, trainer: pl.Trainer) -> None:
        """Bring saved sums together with what has been logged again."""
        if self._waiting:
            self._waiting = merge_logged(trainer, self._waiting)


def between_batches(checkpoint: dict[str, Any]) -> None:
    """Let a checkpoint that was written when a batch had begun say that it has not."""
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    progress["is_last_batch"] = False
    for counts in (progress["total"], progress["current"]):
        counts["ready"] = counts["completed"]


def without_loader_states(checkpoint: dict[str, Any]) -> None:
    """Let a checkpoint say nothing about where loaders stand: the count of batches does, and loaders are ahead of it.

    Of a run that had been resumed within an epoch, Lightning would keep a state of its :class:`ResumedLoader`, and
    refuse to give it to the plain loader of the next process.
    """
    checkpoint["loops"]["fit_loop"]["state_dict"].pop("combined_loader", None)


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
    progress = trainer.fit_loop.epoch_loop.scheduler_progress
    for index, value in values.items():
        progress.increment_ready()
        pl_module.lr_scheduler_step(trainer.lr_scheduler_configs[index].scheduler, value)
        progress.increment_completed()


def start_next_epoch(trainer: pl.Trainer) -> None:
    """Go on with the epoch after the one that the checkpoint ended, or with the first.

    With ``max_steps``, Lightning would otherwise end that epoch a second time, without batches, and be one epoch ahead
    in the order of the samples from then on; before the first, it would count a batch that was not there.
    """
    loop = trainer.fit_loop
    current: Any
    for current in (loop.epoch_progress.current, loop.epoch_progress.total):
        current.completed = current.started = current.ready = current.processed
    pl.loops.loop._Loop.restarting.fset(loop, False)  # type: ignore[attr-defined] # past the loop's own setter
    loop.reset_restart_stage()


def start_pass(trainer: pl.Trainer) -> None:
    """Begin the pass through the training data again, in the order of the epoch that it is.

    Lightning has begun it before it knew the epoch: worker processes already fetch in the order of epoch 0.
    """
    loaders, fetcher = trainer.fit_loop._combined_loader, trainer.fit_loop._data_fetcher
    if loaders is None or fetcher is None:
        return
    epoch: Any = trainer.fit_loop.epoch_progress.current
    for loader in loaders.flattened:
        set_epoch(loader, epoch.processed)
    iter(fetcher)
