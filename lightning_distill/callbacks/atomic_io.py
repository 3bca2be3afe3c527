"""Lightning's checkpoint files, written so that one is whole or not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning_distill.engine import pl
from lightning_distill.files import replacing


class AtomicCheckpointIO(pl.plugins.TorchCheckpointIO):
    """For a Trainer with checkpoint callbacks of its own: ``Trainer(plugins=AtomicCheckpointIO())``.

    Every checkpoint is written aside, synced and renamed: a process that is killed, or a disk that is full, leaves the
    one that was there before. :class:`~lightning_distill.callbacks.BestAndLast` does so in any case. Paths that are no
    local ones (``s3://...``) are left to Lightning.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        with replacing(Path(path)) as part:
            super().save_checkpoint(checkpoint, part, storage_options)
