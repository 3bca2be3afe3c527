"""Silence for what Lightning says in every run and nobody can act on; warnings that matter stay."""

from __future__ import annotations

import logging
import warnings

# Device lists and tips, three times a run.
LOGGERS = ("pytorch_lightning", "lightning.pytorch", "lightning_fabric", "lightning.fabric")
NOISE = (
    # Lightning's own use of torch's pytree.
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
    # In-memory data is fastest without workers, and short trainings log once an epoch.
    r"The '.*_dataloader' does not have many workers",
    r"The number of training batches .* is smaller than the logging interval",
    # The run's own folder.
    r"Checkpoint directory .* exists and is not empty",
    # A student may keep parts of itself frozen on purpose: an averaged or a pretrained head.
    r"Found \d+ module\(s\) in eval mode at the start of training",
)


def quiet() -> None:
    """Called by the commands, never on import: someone's own project keeps its warnings."""
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in NOISE:
        warnings.filterwarnings("ignore", message=message)
