"""Write a store so that a process killed at any point loses at most the chunk that it was at."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from filelock import FileLock, Timeout
from torch import Tensor
from typing_extensions import Self

from lightning_distill.files import sweep, writing
from lightning_distill.teachers.store.header import FILE, Header, read_header, write_header
from lightning_distill.teachers.store.shard import ShardFiles


def open_folder(folder: Path, header: Header) -> Header:
    """Begin a store, or go on with the one that is there. Returns its header.

    Args:
        folder: Made if it is not there.
        header: What the store is to hold. A store that was begun with another number of shards keeps that.

    Raises:
        ValueError: If the folder holds another store, with what differs, or something else.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with writing(folder), FileLock(own_file(folder / "header.lock")):
        sweep(folder)  # a header that a killed process left half-written
        if not (folder / FILE).exists():
            others = sorted(path.name for path in folder.iterdir() if path.name != "header.lock")
            if others:
                raise ValueError(
                    f"Expected an empty folder for a new store, but {folder} holds {', '.join(others[:3])}. Choose "
                    "another folder."
                )
            write_header(folder, header)
        found = read_header(folder)
    differences = header.identity.differences(found.identity)
    shape = [name for name in ("encoding", "classes", "epochs", "samples", "fields") if _differ(header, found, name)]
    if differences or shape:
        raise ValueError(
            f"Expected {folder} to hold this store, but it holds another one. What differs: "
            f"{'; '.join([*differences, *shape])}. Choose another folder, or delete this one."
        )
    return found


def own_file(path: Path) -> Path:
    """``path``, a file of the store or a name that is free.

    Raises:
        ValueError: If it leads elsewhere: whoever prepared that would have another file overwritten.
    """
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise ValueError(
            f"Expected {path} to be a file of a store of teacher outputs, but it leads elsewhere. Delete the folder "
            f"{path.parent}: the store is built anew."
        )
    return path


def _differ(first: Header, second: Header, name: str) -> bool:
    return bool(getattr(first, name) != getattr(second, name))


class ShardWriter:
    """Appends the rows of one shard, in whole chunks; goes on after those that are complete.

    A chunk's bytes are written first, its digests after them. What a crash leaves behind is found by its digest: when
    a shard is opened again, every chunk is read back and compared, and the files are cut after the last one in order.
    No chunk is waited for on its way to the disk but the last; a power failure costs what had not arrived.

    Args:
        folder: Of the store, after :func:`open_folder`.
        header: As that returned it.
        shard: Which one.
        wait: Seconds to wait for another process that writes the same shard; -1 for as long as it takes.

    Raises:
        BlockingIOError: If another process writes it for longer than ``wait``.

    Attributes:
        done: Rows that are complete.
    """

    def __init__(self, folder: Path, header: Header, shard: int, wait: float = -1) -> None:
        self.files = ShardFiles(folder, header, shard)
        self._stack = ExitStack()
        self._pending: dict[str, list[np.ndarray]] = {field.name: [] for field in header.fields}
        lock = FileLock(own_file(self.files.lock))
        try:
            with writing(folder):
                lock.acquire(timeout=wait)
        except Timeout:
            raise BlockingIOError(
                f"Expected to write shard {shard} of {folder}, but another process is writing it. Wait for it to end."
            ) from None
        self._stack.callback(lock.release)
        with self._stack, writing(folder):
            self._data = [self._open(self.files.data(index)) for index in range(len(header.fields))]
            self._digests = self._open(self.files.digests)
            self._chunk = self._recover()
            self._stack = self._stack.pop_all()
        self.done = min(self._chunk * header.chunk_rows, self.files.rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def append(self, fields: Mapping[str, Tensor]) -> None:
        """Add rows, one for each sample of a batch; they are written when a chunk is full.

        Raises:
            ValueError: If a field is missing, or its rows have another shape or dtype than the header's.
        """
        for field in self.files.header.fields:
            rows = fields[field.name].detach().cpu().contiguous().numpy()
            if rows.dtype != np.dtype(field.dtype) or rows.shape[1:] != field.shape:
                raise ValueError(
                    f"Expected the teacher to give `{field.name}` as {field.dtype} {list(field.shape)} for every "
                    f"sample, but got {rows.dtype} {list(rows.shape[1:])}. A store holds answers of one shape only."
                )
            self._pending[field.name].append(rows.astype(field.numpy, copy=False))
        self._flush()

    def _flush(self) -> None:
        """Write every chunk that is full, and the last one of the shard."""
        names = [field.name for field in self.files.header.fields]
        while self._chunk < self.files.chunks:
            first, end = self.files.span(self._chunk)
            if sum(len(rows) for rows in self._pending[names[0]]) < end - first:
                return
            digests = b""
            for index, name in enumerate(names):
                rows = np.concatenate(self._pending[name])
                self._pending[name] = [rows[end - first :]]
                content = rows[: end - first].tobytes()
                self._write(self._data[index], content)
                digests += self.files.digest(self._chunk, index, content)
            self._write(self._digests, digests)
            self._chunk, self.done = self._chunk + 1, end

    def _write(self, file: BinaryIO, content: bytes) -> None:
        with writing(Path(file.name)):
            file.write(content)
            file.flush()

    def close(self) -> None:
        """Bring everything to the disk and let go of the shard."""
        with writing(self.files.folder), self._stack:
            for file in (*self._data, self._digests):
                os.fsync(file.fileno())

    def _open(self, path: Path) -> BinaryIO:
        own_file(path).touch()
        return self._stack.enter_context(path.open("r+b"))

    def _recover(self) -> int:
        """Number of chunks at the start that are complete and as they were written; the files end there afterwards."""
        chunk = 0
        while chunk < self.files.chunks and self._in_order(chunk):
            chunk += 1
        rows = min(chunk * self.files.header.chunk_rows, self.files.rows)
        sizes = [rows * field.row_bytes for field in self.files.header.fields]
        for file, size in zip((*self._data, self._digests), (*sizes, chunk * self.files.record_bytes), strict=True):
            file.truncate(size)
            file.seek(size)
        return chunk

    def _in_order(self, chunk: int) -> bool:
        record = self._digests.read(self.files.record_bytes)
        if len(record) < self.files.record_bytes:
            return False
        first, end = self.files.span(chunk)
        digests = b""
        for index, field in enumerate(self.files.header.fields):
            content = self._data[index].read((end - first) * field.row_bytes)
            digests += self.files.digest(chunk, index, content)
        return digests == record
