"""One row of numbers per epoch, in a file that any spreadsheet opens."""

from __future__ import annotations

import csv
import time
from pathlib import Path

from lightning_distill.engine import pl
from lightning_distill.files import replacing

FIRST_COLUMNS = ("epoch", "step", "lr", "seconds")


class EpochCsv(pl.callbacks.Checkpoint):
    """Writes ``epoch, step, lr, seconds`` and everything that was logged, one row per epoch, as soon as it is over.

    ``seconds`` is what the epoch took, validation included.

    A resumed run continues the file: rows of epochs that are repeated are replaced. It counts as a checkpoint callback
    for Lightning because those run last in an epoch, when everything has been logged.

    Args:
        path: The file.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.path = Path(path)
        self._rows: list[dict[str, str]] | None = None
        self._lr = ""
        self._start = 0.0

    @property
    def state_key(self) -> str:
        return "EpochCsv"

    def state_dict(self) -> dict[str, str]:
        return {"lr": self._lr}

    def load_state_dict(self, state_dict: dict[str, str]) -> None:
        self._lr = state_dict["lr"]  # of an epoch that goes on in its middle

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start = time.perf_counter()  # of an epoch that goes on in its middle, what is left of it

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start = time.perf_counter()
        self._lr = format(trainer.optimizers[0].param_groups[0]["lr"], ".6g") if trainer.optimizers else ""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._rows is None:
            known = self._read() if trainer.current_epoch > 0 else []
            self._rows = [row for row in known if int(row["epoch"]) < trainer.current_epoch]
        logged = {name: format(float(value), ".6g") for name, value in trainer.callback_metrics.items()}
        place = {"epoch": str(trainer.current_epoch), "step": str(trainer.global_step), "lr": self._lr}
        row = {**place, "seconds": format(time.perf_counter() - self._start, ".6g"), **logged}
        self._rows = [*self._rows, row]
        if trainer.is_global_zero:
            self._write(self._rows)

    def _read(self) -> list[dict[str, str]]:
        return read_rows(self.path)

    def _write(self, rows: list[dict[str, str]]) -> None:
        names = {name for row in rows for name in row}
        columns = [*FIRST_COLUMNS, *sorted(names - set(FIRST_COLUMNS))]
        with replacing(self.path) as part, part.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of such a file, by column; none if there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
