"""How long a training took, from its rows of numbers: an interrupted one counts whole."""

from __future__ import annotations

import statistics
from pathlib import Path

from lightning_distill.callbacks.epoch_csv import read_rows
from lightning_distill.report.folder import Scalar


def training_time(path: Path) -> dict[str, Scalar]:
    """``epochs`` that were trained, ``train_seconds`` of all, and the median ``epoch_seconds``."""
    seconds = [float(row["seconds"]) for row in read_rows(path) if row.get("seconds")]
    if not seconds:
        return {}
    return {
        "epochs": len(seconds),
        "train_seconds": round(sum(seconds), 3),
        "epoch_seconds": round(statistics.median(seconds), 6),
    }
