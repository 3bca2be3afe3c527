"""Train one network and test it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightning_distill.callbacks import (
    BestAndLast,
    EndTest,
    EpochCsv,
    NonFinite,
    Preflight,
    SampleCount,
    Stop,
    TestOutputs,
)
from lightning_distill.distillers import BaseDistiller, Distiller
from lightning_distill.distillers.output_kind import output_kind
from lightning_distill.distillers.sharding import to_shard
from lightning_distill.engine import pl
from lightning_distill.pipeline.plan import StagePlan
from lightning_distill.report.console import is_main_process
from lightning_distill.report.folder import RunFolder, Scalar
from lightning_distill.report.predictions import save_predictions
from lightning_distill.report.training_time import training_time
from lightning_distill.sharded import read_folder


class Stage:
    """One role's training and test in a run folder.

    Args:
        role: ``"teacher"``, ``"baseline"`` or ``"student"``.
        plan: How.
        folder: Where.
    """

    def __init__(self, role: str, plan: StagePlan, folder: RunFolder) -> None:
        self.role = role
        self.plan = plan
        self.folder = folder
        self._counter = SampleCount()
        self._outputs = TestOutputs()
        self._trainer: pl.Trainer | None = None

    @property
    def test_samples(self) -> int:
        """Samples in the last test."""
        return self._counter.count

    def make(self, student: Callable[[], nn.Module], teacher: nn.Module | None) -> BaseDistiller:
        """A fresh student in a distiller; the same seed gives the same weights."""
        pl.seed_everything(self.plan.seed, workers=True, verbose=False)
        return self.plan.distiller(student(), teacher)

    def fit(self, distiller: BaseDistiller, ckpt_path: Path | None = None) -> dict[str, Scalar]:
        """Train, go back to the best epoch, test, and write the weights. Returns the numbers."""
        keeper = BestAndLast(self.folder.checkpoints(self.role), stop=Stop(), **self.plan.checkpoints)
        # In this order: the checkpoint closes an epoch, and all else about it is on disk by then.
        trainer = self._make_trainer(
            [Preflight(self.role), NonFinite(**self.plan.nonfinite), EpochCsv(self.folder.csv(self.role)), keeper]
        )
        pl.seed_everything(self.plan.seed, workers=True, verbose=False)
        resumed = None if ckpt_path is None else str(ckpt_path)
        module = to_shard(distiller, trainer)
        uninterrupted(trainer.fit, module, datamodule=self.plan.data, ckpt_path=resumed, weights_only=True)
        # Not by the test's `ckpt_path`: with it, a callback that averages weights puts the plain ones back.
        distiller.load_state_dict(read_state(keeper.best))
        numbers = self.test(distiller) | training_time(self.folder.csv(self.role))
        return {keeper.monitor: keeper.best_score, "best_epoch": keeper.best_epoch} | numbers

    def test(self, distiller: BaseDistiller) -> dict[str, Scalar]:
        """Test, and write the weights. Returns the numbers."""
        values = self.measure(distiller)
        if is_main_process():
            distiller.save_weights(self.folder.weights(self.role))
            save_predictions(self._outputs.found, self.folder.predictions(self.role))
        return values | self._sizes(distiller)

    def agreement(self, distiller: BaseDistiller, teacher: nn.Module) -> dict[str, Scalar]:
        """How often a network that was trained without the teacher chooses the teacher's class; nothing for values."""
        loss = distiller.student_loss
        if output_kind(loss) == "values":
            return {}
        given = {"student_loss": loss, "example_input": distiller.example_input}
        pair = Distiller(distiller.deployable(), teacher, teacher_agreement=True, **given)
        name = "test/teacher_agreement"
        return {name: self.measure(pair)[name]}

    def measure(self, distiller: BaseDistiller) -> dict[str, Scalar]:
        """Every number of the test split; nothing is written."""
        trainer = self._trainer or self._make_trainer([])
        uninterrupted(trainer.test, to_shard(distiller, trainer), datamodule=self.plan.data, verbose=False)
        return {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}

    def _sizes(self, distiller: BaseDistiller) -> dict[str, Scalar]:
        parameters = sum(parameter.numel() for parameter in distiller.deployable().parameters())
        file = self.folder.weights(self.role)
        return {"parameters": parameters, "file_bytes": file.stat().st_size if file.exists() else None}

    def _make_trainer(self, callbacks: Sequence[pl.callbacks.Callback]) -> pl.Trainer:
        self._trainer = self.plan.trainer(self.role, [*callbacks, self._counter, self._outputs, EndTest()])
        environment: Any = self._trainer._accelerator_connector.cluster_environment
        if hasattr(environment, "auto_requeue"):  # SLURM's
            # Lightning would answer SIGUSR1 by a checkpoint of its own, which the next stage would go on from.
            environment.auto_requeue = False
        return self._trainer


def read_state(checkpoint: Path) -> dict[str, Tensor]:
    """The weights of a distiller: of a file, or of a folder."""
    if checkpoint.is_dir():
        return read_folder(checkpoint)
    state: dict[str, Tensor] = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    return state


def uninterrupted(function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """Call a Trainer's method; Ctrl-C comes out as the ``KeyboardInterrupt`` that it is.

    Lightning turns it into ``SystemExit(1)``, which no one can tell from a failure, and leaves Ctrl-C without effect
    from then on.
    """
    try:
        function(*args, **kwargs)
    except SystemExit as exit_request:
        if isinstance(exit_request.__context__, KeyboardInterrupt):
            signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt from exit_request
        raise
