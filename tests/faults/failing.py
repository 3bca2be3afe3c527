"""Let one write of a run fail with half of it on the disk, as where that is full or broken."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, BinaryIO

from lightning_distill import files
from lightning_distill.teachers.store import ShardWriter


class Failing:
    """Counts what is written, and lets the n-th write fail.

    Args:
        fail_at: Counted from 1; 0 for none.
        code: The system's number for the error.
    """

    def __init__(self, fail_at: int = 0, code: int = 0) -> None:
        self.fail_at, self.code = fail_at, code
        self.seen: list[str] = []

    def fails(self, path: Path) -> bool:
        self.seen.append(path.name)
        return len(self.seen) == self.fail_at

    def error(self) -> OSError:
        return OSError(self.code, os.strerror(self.code))

    def watch(self) -> None:
        """From here on, in this process: it is a fork, so nothing has to be undone."""
        put, opened = files.put, ShardWriter._open

        def failing_put(part: Path, path: Path) -> None:
            if self.fails(path):
                if part.is_file():
                    os.truncate(part, part.stat().st_size // 2)
                raise self.error()
            put(part, path)

        for module in list(sys.modules.values()):
            if vars(module).get("put") is put:
                module.put = failing_put  # type: ignore[attr-defined]
        ShardWriter._open = lambda shard, path: ShardFile(opened(shard, path), self)  # type: ignore


class ShardFile:
    """A file of a store, one of whose writes may fail.

    Args:
        file: The file.
        failing: Which.
    """

    def __init__(self, file: BinaryIO, failing: Failing) -> None:
        self.file, self.failing = file, failing

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def write(self, content: bytes) -> None:
        if self.failing.fails(Path(self.file.name)):
            self.file.write(content[: len(content) // 2])
            raise self.failing.error()
        self.file.write(content)
