"""Look up what a teacher said, by sample and epoch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_distill.teachers.store.header import FEATURE, Header, Identity, read_header
from lightning_distill.teachers.store.shard import Shard, ShardFiles


class TeacherStore:
    """A complete store, mapped into memory: what is not asked for is not read.

    Every chunk (about a megabyte) is compared with its digest when it is first read, once per process, at about a
    gigabyte per second and core; so each epoch costs one pass over its own entries at most, spread over its first
    steps. Sample ids are read and checked when the store is opened (8 bytes each), and again with every row.

    Args:
        folder: Of the store.
        identity: Whose outputs are wanted. The store is refused where it holds others. ``None`` takes what is there.

    Raises:
        FileNotFoundError: If there is no store.
        ValueError: If it is damaged, not complete or another one; the message says what differs.

    Example:
        >>> TeacherStore("nowhere")
        Traceback (most recent call last):
        ...
        FileNotFoundError: Expected nowhere to hold a store of teacher outputs, but it has no header.json.
    """

    def __init__(self, folder: str | Path, identity: Identity | None = None) -> None:
        self.folder = Path(folder)
        self.header: Header = read_header(self.folder)
        self._identity = identity
        differences = [] if identity is None else identity.differences(self.header.identity)
        if differences:
            raise ValueError(
                f"Expected the teacher store {self.folder} to belong to this run, but it was made with another state "
                f"of {' and of '.join(differences)}. Its answers would be wrong here. Choose another folder, or delete "
                "this one: the store is built anew."
            )
        self._shards = self._map()
        self._fields = {field.name: index for index, field in enumerate(self.header.fields)}
        self._ids, self._positions = self._index()
        self._starts = np.array([self.header.block(shard).start for shard in range(self.header.shards)])

    def __len__(self) -> int:
        """Number of samples."""
        return self.header.samples

    @property
    def features(self) -> tuple[str, ...]:
        """Paths of the features that were kept."""
        return tuple(name.removeprefix(FEATURE) for name in self._fields if name.startswith(FEATURE))

    @property
    def logit_fields(self) -> tuple[str, ...]:
        """Fields that the encoding turns into logits."""
        return tuple(name for name in self._fields if name != "ids" and not name.startswith(FEATURE))

    @property
    def nbytes(self) -> int:
        """Bytes on disk."""
        return sum(path.stat().st_size for path in self.folder.iterdir())

    def fields(self, sample_ids: Tensor, epoch: int, names: Sequence[str]) -> dict[str, Tensor]:
        """Fields of some samples, as they were written, on the CPU.

        Args:
            sample_ids: ``[B]`` integers.
            epoch: From 0.
            names: Of the fields.

        Raises:
            ValueError: If a sample or the epoch is not in the store, or it is damaged.
        """
        wanted = sample_ids.cpu().numpy().astype(np.int64, copy=False).reshape(-1)
        positions = self._find(wanted)
        epoch = self._entry(epoch)
        found = self._take("ids", positions, epoch)
        if not np.array_equal(found, wanted):
            raise ValueError(
                f"Expected {self.folder} to hold the answers for samples {wanted[:3].tolist()}, ... at their places, "
                f"but got those for {found[:3].tolist()}, ... Delete the folder: the store is built anew."
            )
        return {name: torch.from_numpy(self._native(self._take(name, positions, epoch))) for name in names}

    def _entry(self, epoch: int) -> int:
        epochs = self.header.epochs
        if epochs == 1 and self.header.identity.view == "clean":
            return 0
        if not 0 <= epoch < epochs:
            raise ValueError(
                f"Expected an epoch below {epochs}, for which the store {self.folder} holds the teacher's answers, but "
                f"got {epoch}. Store more epochs (teacher.cache.epochs), train for fewer, or let the teacher see the "
                "images as they are: teacher.cache.view=clean"
            )
        return epoch

    def _find(self, wanted: np.ndarray) -> np.ndarray:
        places = np.searchsorted(self._ids, wanted)
        places[places == len(self._ids)] = 0
        unknown = wanted[self._ids[places] != wanted]
        if len(unknown):
            raise ValueError(
                f"Expected sample ids that the store {self.folder} knows, but got {unknown[:5].tolist()} among "
                f"{len(unknown)} unknown ones. It holds {len(self)} samples, {self._ids[0]} to {self._ids[-1]}; build "
                "it with the data that is trained on."
            )
        return self._positions[places]

    def _take(self, name: str, positions: np.ndarray, epoch: int) -> np.ndarray:
        """Rows of one field, from whichever shards hold them."""
        index = self._fields[name]
        if len(self._shards) == 1:
            return self._shards[0].take(index, epoch * self.header.samples + positions)
        owners = np.searchsorted(self._starts, positions, side="right") - 1
        field = self.header.fields[index]
        rows = np.empty((len(positions), *field.shape), field.numpy)
        for owner in np.unique(owners):
            block, mine = self.header.block(int(owner)), owners == owner
            rows[mine] = self._shards[owner].take(index, epoch * len(block) + positions[mine] - block.start)
        return rows

    @staticmethod
    def _native(rows: np.ndarray) -> np.ndarray:
        return rows.astype(rows.dtype.newbyteorder("="), copy=False)

    def _map(self) -> list[Shard]:
        return [Shard(ShardFiles(self.folder, self.header, shard)) for shard in range(self.header.shards)]

    def _index(self) -> tuple[np.ndarray, np.ndarray]:
        """All ids in rising order, and their positions."""
        blocks = [shard.take(0, np.arange(len(self.header.block(number)))) for number, shard in enumerate(self._shards)]
        ids = self._native(np.concatenate(blocks))
        order = np.argsort(ids, kind="stable")
        ordered = ids[order]
        twice = ordered[1:][ordered[1:] == ordered[:-1]]
        if len(twice):
            raise ValueError(
                f"Expected every sample of the store {self.folder} to have an id of its own, but got "
                f"{twice[:5].tolist()} more than once. Give the training samples unique `sample_ids`."
            )
        return ordered, order

    def __reduce__(self) -> tuple[Any, ...]:
        # To another process goes the path, not what is mapped.
        return TeacherStore, (self.folder, self._identity)
