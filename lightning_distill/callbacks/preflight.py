"""Say before hours are spent how good the teacher is, and how long the training will take."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable
from itertools import islice
from typing import Any

import torch
from torch import nn
from torchmetrics import MetricCollection

from lightning_distill.distillers import BaseDistiller
from lightning_distill.engine import pl
from lightning_distill.report.console import say
from lightning_distill.types import batch_size_of

ACCURACY = "val/accuracy"


class Preflight(pl.callbacks.Callback):
    """Prints the teacher's own numbers on the validation data, sizes, and the time that the training will take.

    A teacher that was loaded from the wrong file, or that sees images normalised in another way than in its training,
    answers hardly better than chance: that shows here, as a warning, at the start.

    Args:
        role: What is trained, for the lines that are printed.
        teacher_batches: Measure the teacher on this many validation batches (per process); ``None`` for all.
        steps: Time this many training steps.
        skip: Leave out as many steps at the start, which are slower.

    Attributes:
        teacher_metrics: The teacher's numbers, ``{"val/accuracy": ...}``; empty without a teacher or validation data.
        seconds_per_step: Mean over the timed steps; ``None`` before they are done.
    """

    def __init__(
        self, role: str = "student", teacher_batches: int | None = 100, steps: int = 10, skip: int = 3
    ) -> None:
        super().__init__()
        self.role, self.teacher_batches, self.steps, self.skip = role, teacher_batches, steps, skip
        self.teacher_metrics: dict[str, float] = {}
        self.seconds_per_step: float | None = None
        self._done = 0
        self._mark = self._seconds = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._done, self._seconds, self.seconds_per_step = 0, 0.0, None
        if isinstance(pl_module, BaseDistiller) and pl_module.teacher is not None and pl_module.distils:
            self._look_at_teacher(trainer, pl_module, pl_module.teacher)
        trained = sum(p.numel() for p in pl_module.parameters() if p.requires_grad)
        say(f"{self.role}: {trained:,} trained parameters")

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        # Within an epoch the clock runs from the end of the step before, so that loading the data counts.
        if self._times and (batch_idx == 0 or self._done == self.skip):
            self._mark = _now(pl_module.device)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._times:
            now = _now(pl_module.device)
            self._seconds, self._mark = self._seconds + now - self._mark, now
        self._done += 1
        if self._done == self.skip + self.steps:
            self.seconds_per_step = self._seconds / self.steps
            say(f"{self.role}: {self._estimate(trainer, pl_module.device)}")

    @property
    def _times(self) -> bool:
        return self.skip <= self._done < self.skip + self.steps

    def _look_at_teacher(self, trainer: pl.Trainer, distiller: BaseDistiller, teacher: nn.Module) -> None:
        metrics, samples, classes = measure_teacher(trainer, distiller, self.teacher_batches)
        self.teacher_metrics = metrics
        parameters = sum(parameter.numel() for parameter in teacher.parameters())
        measured = "".join(f", {name} {_shown(name, value)}" for name, value in metrics.items())
        on = f" on {samples:,} validation samples" if metrics else ""
        say(f"teacher: {parameters:,} parameters{measured}{on}")
        if ACCURACY in metrics and near_chance(metrics[ACCURACY], samples, classes):
            say(
                f"warning: the teacher is right for {metrics[ACCURACY]:.1%} of the validation samples, which is near "
                f"chance ({1 / classes:.1%} for {classes} classes). Is its checkpoint the right one, and are its "
                "images normalised as in its training (`mean`, `std`, `data_mean`, `data_std` of the teacher)?"
            )

    def _estimate(self, trainer: pl.Trainer, device: torch.device) -> str:
        step = self.seconds_per_step or 0.0
        batches, epochs = float(trainer.num_training_batches), trainer.max_epochs
        steps = float(trainer.estimated_stepping_batches) * trainer.accumulate_grad_batches
        text = f"{1e3 * step:.1f} ms per step"
        if math.isfinite(batches):
            text += f", {span(step * batches)} per epoch of {batches:,.0f} steps"
        if math.isfinite(steps):
            text += (
                f", {span(step * steps)} for {f'{epochs} epochs' if epochs and epochs > 0 else f'{steps:,.0f} steps'}"
            )
        memory = peak_memory(device)
        return f"about {text}, validation not counted" + (f"; {memory / 1e9:.2f} GB of memory" if memory else "")


@torch.no_grad()
def measure_teacher(
    trainer: pl.Trainer, distiller: BaseDistiller, batches: int | None = None
) -> tuple[dict[str, float], int, int]:
    """The teacher's own validation metrics, the samples behind them, and the number of classes.

    Args:
        trainer: Attached to ``distiller``, its validation loaders set up.
        distiller: Measures the teacher as it measures its student.
        batches: At most so many; the Trainer's ``limit_val_batches`` holds as well.
    """
    loaders = trainer.val_dataloaders
    metrics = distiller.stage_metrics.fresh("val")
    samples = classes = 0
    if loaders is None or metrics is None:
        return {}, 0, 0
    for batch in islice(_batches(loaders), _limit(trainer, batches)):
        moved = distiller.unpack_batch(trainer.strategy.batch_to_device(batch, distiller.device))
        if moved.target is None:
            return {}, 0, 0
        with trainer.precision_plugin.forward_context():
            logits = distiller.teacher_logits(moved)
        distiller.stage_metrics.update_with(metrics, logits, moved.target)
        samples, classes = samples + batch_size_of(moved.inputs), int(logits.shape[1])
    if not samples:
        return {}, 0, 0
    everywhere = trainer.strategy.reduce(torch.tensor(float(samples), device=distiller.device), reduce_op="sum")
    return _computed(metrics), int(everywhere), classes


def near_chance(accuracy: float, samples: int, classes: int) -> bool:
    """Whether an accuracy is less than 1.5 times a guess's, or within three standard errors of it.

    Example:
        >>> near_chance(0.12, 1000, 10), near_chance(0.5, 1000, 10)
        (True, False)
    """
    chance = 1 / classes
    error = math.sqrt(chance * (1 - chance) / samples)
    return accuracy < max(min(1.5 * chance, (1 + chance) / 2), chance + 3 * error)


def span(seconds: float) -> str:
    """A time with the unit that keeps it short.

    Example:
        >>> span(0.04), span(75), span(9000)
        ('0.04 s', '1.2 min', '2.5 h')
    """
    for limit, unit, size in ((60, "s", 1), (3600, "min", 60), (math.inf, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.2g} {unit}" if seconds / size < 10 else f"{seconds / size:.0f} {unit}"
    return "for ever"


def peak_memory(device: torch.device) -> int:
    """The most bytes that were in use so far: of the GPU, or of this process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _batches(loaders: Any) -> Iterable[Any]:
    if isinstance(loaders, (list, tuple)):
        return (batch for loader in loaders for batch in loader)
    whole: Iterable[Any] = loaders
    return whole


def _limit(trainer: pl.Trainer, batches: int | None) -> int | None:
    counts = [count for count in (batches, *trainer.num_val_batches) if count is not None and count != math.inf]
    return int(min(counts)) if counts else None


def _computed(metrics: MetricCollection) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.compute().items() if value.numel() == 1}


def _shown(name: str, value: float) -> str:
    return f"{value:.2%}" if "accuracy" in name else f"{value:.4g}"


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
