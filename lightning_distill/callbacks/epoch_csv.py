"""One row of numbers per epoch, in a file that any spreadsheet opens."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

from lightning_distill.engine import pl
from lightning_distill.files import replacing
from lightning_distill.text_files import read_text

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
        self._rows = None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start = time.perf_counter()
        self._lr = format(trainer.optimizers[0].param_groups[0]["lr"], ".6g") if trainer.optimizers else ""

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if self._rows is None:  # the first batch: earlier, the epoch that a run goes on with is not known
            self._rows = self._before(trainer.current_epoch)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        logged = {name: format(float(value), ".6g") for name, value in trainer.callback_metrics.items()}
        place = {"epoch": str(trainer.current_epoch), "step": str(trainer.global_step), "lr": self._lr}
        row = {**place, "seconds": format(time.perf_counter() - self._start, ".6g"), **logged}
        self._rows = [*(self._rows or []), row]
        if trainer.is_global_zero:
            self._write(self._rows)

    def _before(self, epoch: int) -> list[dict[str, str]]:
        """The rows of a run that goes on, up to where it does."""
        if epoch == 0 or not self.path.exists():
            return []
        rows = [row for row in read_rows(self.path) if int(row["epoch"]) < epoch]
        if not rows or int(rows[-1]["epoch"]) != epoch - 1:
            raise damaged(self.path)
        return rows

    def _write(self, rows: list[dict[str, str]]) -> None:
        names = {name for row in rows for name in row}
        columns = [*FIRST_COLUMNS, *sorted(names - set(FIRST_COLUMNS))]
        with replacing(self.path) as part, part.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of such a file, by column; none if there is no file.

    Raises:
        ValueError: If it ends in the middle of a row, or is empty.
    """
    if not path.exists():
        return []
    text = read_text(path, errors="replace")
    rows = list(csv.DictReader(text.splitlines()))
    whole = all(None not in row and None not in row.values() and row.get("epoch", "").isdigit() for row in rows)
    if not text.endswith("\n") or not whole:
        raise damaged(path)
    return rows


def damaged(path: Path) -> ValueError:
    """The error for a file that is not as it was written."""
    return ValueError(
        f"Expected {path} to hold one whole row for each epoch so far, but it is cut off or changed. Bring it back, or "
        "delete it: its rows are lost then, and nothing else is."
    )
