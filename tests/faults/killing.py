"""Fork a run and kill it at the n-th thing that happens in it: a batch, a validation, a step of writing a file."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from lightning_distill import files
from lightning_distill.teachers.store.shard import ShardFiles


class Events:
    """Counts what happens, and kills this process at a given count; a file being written is cut in half then.

    Args:
        kill_at: Counted from 1; 0 for never.
    """

    def __init__(self, kill_at: int = 0) -> None:
        self.kill_at = kill_at
        self.count = 0

    def happen(self, part: Path | None = None) -> None:
        self.count += 1
        if self.count != self.kill_at:
            return
        if part is not None and part.is_file():
            os.truncate(part, part.stat().st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        """From here on, in this process: it is a fork, so nothing has to be undone."""
        put, hook, digest = files.put, pl.trainer.call._call_callback_hooks, ShardFiles.digest

        def watched_put(part: Path, path: Path) -> None:
            self.happen(part)  # half of it is on the disk
            self.happen()  # all of it is, under its other name
            put(part, path)
            self.happen()

        def watched_hook(trainer: Any, name: str, *args: Any, **kwargs: Any) -> None:
            if name in ("on_train_batch_start", "on_before_optimizer_step", "on_validation_batch_end", "on_train_end"):
                self.happen()
            hook(trainer, name, *args, **kwargs)

        def watched_digest(shard: ShardFiles, chunk: int, field: int, content: bytes) -> bytes:
            self.happen(shard.data(field))  # a chunk is written, or read back, and its digest is not there yet
            return digest(shard, chunk, field, content)

        ShardFiles.digest = watched_digest  # type: ignore[method-assign]
        for module in list(sys.modules.values()):
            if vars(module).get("put") is put:
                module.put = watched_put  # type: ignore[attr-defined]
        pl.trainer.call._call_callback_hooks = watched_hook


def in_a_fork(work: Callable[[], object], kill_at: int = 0) -> tuple[int, int]:
    """Do ``work`` in a forked process. Returns its exit code, negative for a signal, and how much has happened."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            events = Events(kill_at)
            events.watch()
            work()
            os.write(writer, str(events.count).encode())
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writer)
    said = os.read(reader, 100)
    os.close(reader)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), int(said or 0)
