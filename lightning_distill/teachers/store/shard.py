"""The files of one shard: an array for each field, and a digest for each chunk of each field."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from lightning_distill.teachers.store.header import DIGEST_BYTES, Field, Header


class ShardFiles:
    """Names and sizes of one shard's files.

    A field's file is its rows one after the other, nothing else. The digests' file has, for each chunk of rows that is
    complete, one digest for each field: of the store's key, the place and the bytes. A chunk that was cut off by a
    crash, moved, or taken from another store has no digest that fits.

    Args:
        folder: Of the store.
        header: Of the store.
        shard: From 0.
    """

    def __init__(self, folder: Path, header: Header, shard: int) -> None:
        self.folder = folder
        self.header = header
        self.shard = shard
        self.rows = header.rows(shard)
        self.chunks = header.chunks(shard)
        self._key = header.key.encode()

    def data(self, index: int) -> Path:
        """The file of the field at ``index``."""
        return self.folder / f"{self.shard:05d}.{index}.bin"

    @property
    def digests(self) -> Path:
        """The digests of all chunks."""
        return self.folder / f"{self.shard:05d}.sha256"

    @property
    def lock(self) -> Path:
        """Held by the process that writes this shard."""
        return self.folder / f"{self.shard:05d}.lock"

    @property
    def record_bytes(self) -> int:
        """Bytes of one chunk's digests."""
        return DIGEST_BYTES * len(self.header.fields)

    def span(self, chunk: int) -> tuple[int, int]:
        """First row of a chunk, and the one after its last."""
        first = chunk * self.header.chunk_rows
        return first, min(first + self.header.chunk_rows, self.rows)

    def digest(self, chunk: int, index: int, content: Any) -> bytes:
        """What stands for one chunk of one field."""
        digest = hashlib.sha256(self._key)
        digest.update(f"{self.shard} {chunk} {index} ".encode())
        digest.update(content)
        return digest.digest()[:DIGEST_BYTES]


class Shard:
    """One complete shard, mapped into memory; a chunk is checked when it is first read, once per process.

    Args:
        files: Of the shard.

    Raises:
        ValueError: If a file is missing, or longer or shorter than the header says.
    """

    def __init__(self, files: ShardFiles) -> None:
        self.files = files
        header = files.header
        for path, size in self._expected().items():
            found = path.stat().st_size if path.is_file() else None
            if found != size:
                raise ValueError(
                    f"Expected {path} to be {size} bytes long, but "
                    f"{'there is no such file' if found is None else f'it has {found}'}. The store is not complete, or "
                    f"damaged. Write it again, which keeps what is in order, or delete {files.folder}."
                )
        # Sizes were compared above, so a header cannot ask for more memory than the files have bytes on disk.
        self._arrays = [_mapped(files.data(i), field, files.rows) for i, field in enumerate(header.fields)]
        records = np.fromfile(files.digests, dtype=np.uint8)
        self._digests = records.reshape(files.chunks, len(header.fields), DIGEST_BYTES)
        self._checked = np.zeros((len(header.fields), files.chunks), dtype=bool)

    def _expected(self) -> dict[Path, int]:
        files = self.files
        sizes = {files.data(i): files.rows * field.row_bytes for i, field in enumerate(files.header.fields)}
        return {**sizes, files.digests: files.chunks * files.record_bytes}

    def take(self, index: int, rows: np.ndarray) -> np.ndarray:
        """The rows of one field, copied, after their chunks were checked.

        Raises:
            ValueError: If the bytes are not those that were written.
        """
        chunks = rows // self.files.header.chunk_rows
        if not self._checked[index, chunks].all():
            for chunk in np.unique(chunks):
                self._check(index, int(chunk))
        return self._arrays[index].take(rows, axis=0)

    def _check(self, index: int, chunk: int) -> None:
        if self._checked[index, chunk]:
            return
        first, end = self.files.span(chunk)
        content = self._arrays[index][first:end].tobytes()
        if self.files.digest(chunk, index, content) != self._digests[chunk, index].tobytes():
            raise ValueError(
                f"Expected {self.files.data(index)} to hold what was written, but rows {first} to {end - 1} (or their "
                f"digest in {self.files.digests.name}) have changed since. Delete {self.files.folder}: the store is "
                "built anew."
            )
        self._checked[index, chunk] = True


def _mapped(path: Path, field: Field, rows: int) -> np.ndarray:
    shape = (rows, *field.shape)
    if rows == 0 or field.row_bytes == 0:
        return np.zeros(shape, field.numpy)  # an empty file cannot be mapped
    return np.memmap(path, field.numpy, mode="r", shape=shape)
