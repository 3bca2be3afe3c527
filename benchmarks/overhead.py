"""What Lightning, metrics, progress bar and CSV add to a short step: ``python -m benchmarks.overhead``."""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn

from benchmarks.table import write
from lightning_distill import Distiller
from lightning_distill.callbacks import EpochCsv, StageProgress
from lightning_distill.data import TensorDataModule
from lightning_distill.losses import kl_distillation_loss
from lightning_distill.models import ConvNet, SmallConvNet

SAMPLES, BATCH, TEMPERATURE, ALPHA = 6400, 64, 4.0, 0.1
ADAMW = partial(torch.optim.AdamW, lr=1e-3)


def networks() -> tuple[nn.Module, nn.Module]:
    """A student and a teacher whose step takes about 1.5 ms on one core."""
    torch.manual_seed(0)
    teacher = ConvNet(num_classes=10, in_channels=1, width=8).eval().requires_grad_(False)
    return SmallConvNet(num_classes=10, in_channels=1, width=8), teacher


def data() -> TensorDataModule:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(SAMPLES, 1, 8, 8, generator=generator)
    samples = images, torch.randint(10, (SAMPLES,), generator=generator)
    return TensorDataModule(samples, (images[:BATCH], samples[1][:BATCH]), num_classes=10, batch_size=BATCH)


class PlainLoop:
    """The same work by hand: an index tensor for the order, one optimizer step a batch, nothing written down."""

    def __init__(self) -> None:
        self.student, self.teacher = networks()
        self.optimizer = ADAMW(self.student.parameters())
        samples = data().train_dataset.samples
        self.inputs: Tensor = samples.inputs
        self.target = samples.target

    def epoch(self) -> None:
        assert self.target is not None
        for rows in torch.randperm(SAMPLES).split(BATCH):
            inputs, target = self.inputs[rows], self.target[rows]
            with torch.no_grad():
                teacher_logits = self.teacher(inputs)
            loss = step_loss(self.student(inputs), teacher_logits, target)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()


def step_loss(logits: Tensor, teacher_logits: Tensor, target: Tensor) -> Tensor:
    hard = nn.functional.cross_entropy(logits, target)
    return ALPHA * hard + (1 - ALPHA) * kl_distillation_loss(logits, teacher_logits, TEMPERATURE)


class Bare(pl.LightningModule):
    """The plain loop's step as a LightningModule that logs and measures nothing: what Lightning itself costs."""

    def __init__(self) -> None:
        super().__init__()
        self.student, self.teacher = networks()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        with torch.no_grad():
            teacher_logits = self.teacher(batch.inputs)
        return step_loss(self.student(batch.inputs), teacher_logits, batch.target)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return ADAMW(self.student.parameters())


class Silent(Distiller):
    """A distiller that computes everything and logs nothing."""

    def log(self, *args: Any, **kwargs: Any) -> None: ...

    def log_dict(self, *args: Any, **kwargs: Any) -> None: ...


def distiller(kind: type[Distiller] = Distiller, **options: Any) -> Distiller:
    student, teacher = networks()
    loss = partial(kl_distillation_loss, temperature=TEMPERATURE)
    return kind(student, teacher, alpha=ALPHA, distillation_loss=loss, optimizer=ADAMW, **options)


class Interleave(Callback):
    """Times each epoch of a fit, and before it an epoch of the plain loop: both meet whatever else the machine does."""

    def __init__(self, plain: PlainLoop) -> None:
        self.plain = plain
        self.own: list[float] = []
        self.other: list[float] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._close(time.process_time())
        before = time.process_time()
        self.plain.epoch()
        self.other.append(time.process_time() - before)
        self._start = time.process_time()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._close(time.process_time())

    def _close(self, now: float) -> None:
        # From one epoch's start to the next one's: the end of an epoch, with its means and its row of CSV, counts.
        if self.other:
            self.own.append(now - self._start)


def measured(make: Callable[[], pl.LightningModule], callbacks: Sequence[Callback], epochs: int) -> dict[str, Any]:
    """Milliseconds per step that a fit takes beyond the plain loop, over epochs, without the first."""
    clock = Interleave(PlainLoop())
    bar = any(isinstance(callback, StageProgress) for callback in callbacks)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs + 1,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=any(isinstance(callback, EpochCsv) for callback in callbacks),
        enable_model_summary=False,
        enable_progress_bar=bar,
        log_every_n_steps=10,
        callbacks=[*callbacks, clock],
    )
    trainer.fit(make(), datamodule=data())
    steps = SAMPLES // BATCH
    own, other = ([1e3 * seconds / steps for seconds in times[1:]] for times in (clock.own, clock.other))
    added = [a - b for a, b in zip(own, other, strict=True)]
    low, middle, high = statistics.quantiles(added, n=4)
    return {
        "plain_ms": round(statistics.median(other), 3),
        "added_ms": round(middle, 3),
        "quartiles": [round(low, 3), round(high, 3)],
    }


def variants(folder: Path, terminal: IO[str]) -> dict[str, tuple[Callable[[], pl.LightningModule], list[Callback]]]:
    """From Lightning alone to everything that a run has, one thing more at a time."""

    def csv(name: str) -> EpochCsv:
        return EpochCsv(folder / f"{name}.csv")

    # Drawn as on a terminal, whatever the benchmark's own output is.
    drawn = {"force_terminal": True, "file": terminal}
    return {
        "Lightning with the step in it, nothing else": (Bare, []),
        "the distiller, no metrics, nothing logged": (partial(distiller, Silent, metrics={}), []),
        "and metrics": (partial(distiller, Silent), []),
        "and logging": (distiller, []),
        "and a row of CSV an epoch": (distiller, [csv("a")]),
        "and the progress bar: everything": (distiller, [csv("b"), StageProgress(console_kwargs=drawn)]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=15, help="epochs of 100 steps for each row")
    parser.add_argument("--print", action="store_true", help="write nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as terminal:
        results = [
            {"what": name, **measured(make, callbacks, options.epochs)}
            for name, (make, callbacks) in variants(Path(folder), terminal).items()
        ]
    rows = [
        [r["what"], f"{r['added_ms']:.2f} ({r['quartiles'][0]:.2f} to {r['quartiles'][1]:.2f})", f"{r['plain_ms']:.2f}"]
        for r in results
    ]
    columns = ["what", "added to a step, ms (quartiles)", "plain step, ms"]
    if options.print:
        print("\n".join(" | ".join(row) for row in rows))
    else:
        write("overhead", "python -m benchmarks.overhead", columns, rows, {"overhead": results})


if __name__ == "__main__":
    main()
