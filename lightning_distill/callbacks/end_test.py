"""End a test when a signal asks for it."""

from __future__ import annotations

from lightning_distill.engine import pl
from lightning_distill.stop import Stop


class EndTest(pl.callbacks.Callback):
    """Raises :class:`~lightning_distill.stop.StopRequested` in a test on SIGTERM or SIGUSR1: there is nothing to save.

    Lightning would go on after SIGTERM, and have its processes wait for each other in the handler of the signal; under
    SLURM it would take SIGUSR1 to save and requeue by itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self._stop = Stop(at_once=True)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop.listen()

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop.ignore()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._stop.ignore()
