"""Fork a run and kill it at the n-th thing that happens in it: a batch, a validation, a step of writing a file."""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytorch_lightning as pl

from lightning_distill import files
from lightning_distill.cli.answers import is_answer
from lightning_distill.teachers.store.shard import ShardFiles


class Events:
    """Counts what happens, and kills this process at a given count; a file being written is cut in half then.

    Args:
        kill_at: Counted from 1; 0 for never.
    """

    def __init__(self, kill_at: int = 0) -> None:
        self.kill_at = kill_at
        self.seen: list[str] = []

    def happen(self, what: str, part: Path | None = None) -> None:
        self.seen.append(what)
        if len(self.seen) != self.kill_at:
            return
        if part is not None and part.is_file():
            os.truncate(part, part.stat().st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        """From here on, in this process: it is a fork, so nothing has to be undone."""
        put, hook, digest = files.put, pl.trainer.call._call_callback_hooks, ShardFiles.digest

        def watched_put(part: Path, path: Path) -> None:
            self.happen(f"half of {path.name}", part)
            self.happen(f"all of {path.name}, under another name")
            put(part, path)
            self.happen(path.name)

        def watched_hook(trainer: Any, name: str, *args: Any, **kwargs: Any) -> None:
            if name in ("on_train_batch_start", "on_before_optimizer_step", "on_validation_batch_end", "on_train_end"):
                self.happen(name)
            hook(trainer, name, *args, **kwargs)

        def watched_digest(shard: ShardFiles, chunk: int, field: int, content: bytes) -> bytes:
            # A chunk is written, or read back, and its digest is not there yet.
            self.happen(shard.data(field).name, shard.data(field))
            return digest(shard, chunk, field, content)

        ShardFiles.digest = watched_digest  # type: ignore[method-assign]
        for module in list(sys.modules.values()):
            if vars(module).get("put") is put:
                module.put = watched_put  # type: ignore[attr-defined]
        pl.trainer.call._call_callback_hooks = watched_hook


class Watch(Protocol):
    """What looks at a run from within its process."""

    def watch(self) -> None: ...

    @property
    def seen(self) -> list[str]: ...


@dataclass(frozen=True)
class Ending:
    """How a forked process ended.

    Attributes:
        code: Its exit code, negative for a signal.
        seen: What happened in it, one by one; nothing of one that was killed.
        error: What was raised, ``""`` for nothing.
        answered: Whether that would be shown as a message, without its trace.
    """

    code: int
    seen: tuple[str, ...] = ()
    error: str = ""
    answered: bool = False


def in_a_fork(work: Callable[[], object], watch: Watch | None = None) -> Ending:
    """Do ``work`` in a forked process, with ``watch`` looking at it; killed where nothing else ends it."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        code, error, answered = 1, "", False
        watch = watch or Events()
        try:
            watch.watch()
            work()
            code = 0
        except Exception as raised:
            traceback.print_exc()
            error, answered = f"{type(raised).__name__}: {raised}", is_answer(raised)
        finally:
            with os.fdopen(writer, "w") as file:
                json.dump([watch.seen, error, answered], file)
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as file:
        said = file.read()
    seen, error, answered = json.loads(said or '[[], "", false]')
    return Ending(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), tuple(seen), error, answered)
