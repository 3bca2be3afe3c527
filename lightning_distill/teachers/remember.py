"""Ask a teacher about every training sample once, and keep the answers."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from lightning_distill.data.sampler import process_share
from lightning_distill.dry_run import map_tensors
from lightning_distill.engine import pl
from lightning_distill.taps import FeatureTaps
from lightning_distill.teachers.fingerprint import identity_of
from lightning_distill.teachers.frozen import FrozenTeacher
from lightning_distill.teachers.store import Dense, Encoding, Field, Header, ShardWriter, TeacherStore, open_folder
from lightning_distill.teachers.store.encoding import DTYPES
from lightning_distill.teachers.store.header import FEATURE, chunk_rows_for
from lightning_distill.teachers.views import Views
from lightning_distill.types import Batch, as_logits


class Recorder:
    """Turns batches into the rows of a store.

    Args:
        teacher: Asked in its own precision, whatever the Trainer's will be.
        encoding: How logits are kept.
        features: Paths in the teacher's network whose features are kept, too, in the encoding's dtype.
        device: Where the teacher is asked.
    """

    def __init__(
        self, teacher: FrozenTeacher, encoding: Encoding, features: Sequence[str], device: torch.device
    ) -> None:
        self.teacher = teacher.to(device)
        self.encoding = encoding
        self.device = device
        self._paths = tuple(dict.fromkeys(features))
        self._taps = FeatureTaps(teacher.model, self._paths) if self._paths else None
        self._tried = False

    def rows(self, batch: Batch) -> tuple[dict[str, Tensor], int]:
        """The fields of a batch on the CPU, and the number of classes.

        Raises:
            ValueError: If the batch has no ``sample_ids``, or an answer is not finite.
        """
        if batch.sample_ids is None:
            raise ValueError(
                "Expected batches with `sample_ids`, by which answers are looked up later, but got none. Yield "
                "(inputs, target, sample_ids), or a Batch."
            )
        ids = batch.sample_ids.cpu().long()
        moved = Batch(*(map_tensors(part, lambda t: t.to(self.device)) for part in batch))
        with nullcontext() if self._taps is None else self._taps:
            logits = as_logits(self.teacher.answer(moved), "teacher")
        tapped = self._read_taps()
        kept = self.encoding.encode(logits.float())
        kept |= {
            f"{FEATURE}{path}": feature.to(DTYPES[self.encoding.dtype])
            for path, feature in zip(self._paths, tapped, strict=True)
        }
        fields = {"ids": ids, **{name: value.cpu() for name, value in kept.items()}}
        _check_finite(fields, ids, self.encoding.dtype)
        return fields, logits.shape[1]

    def _read_taps(self) -> tuple[Tensor, ...]:
        if self._taps is None:
            return ()
        if not self._tried:
            self._taps.protect()  # copies from the next pass on what a later in-place operation overwrites
            self._tried = True
        return self._taps.read()

    def close(self) -> None:
        """Take the taps off the network."""
        if self._taps is not None:
            self._taps.remove()


def remember(
    teacher: FrozenTeacher,
    data: pl.LightningDataModule,
    folder: str | Path,
    *,
    view: str = "augmented",
    epochs: int = 1,
    encoding: Encoding | None = None,
    features: Sequence[str] = (),
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> TeacherStore:
    """A store with the teacher's answers about every training sample; what is there already is kept.

    With several processes (``torch.distributed``), each writes its own shard. A pass that was interrupted, by a kill
    for example, goes on after the last chunk in order.

    Args:
        teacher: What is asked. It is left on ``device``.
        data: Its training samples are.
        folder: Of the store: new, begun, or complete.
        view: ``"augmented"`` for the views that the student will see, ``"clean"`` for images that are not augmented.
        epochs: Entries for each sample, one for each epoch of the student's training. Data that look alike in every
            epoch need one only, which the view ``"clean"`` serves in every epoch.
        encoding: How logits are kept: :class:`~lightning_distill.teachers.store.Dense` or
            :class:`~lightning_distill.teachers.store.TopK`; dense in float16 if not given.
        features: Paths in the teacher's network whose features are kept as well.
        device: Where the teacher is asked.
        progress: Show a bar, in the main process.

    Raises:
        OSError: If the disk has too little space.
        ValueError: If the folder holds another store, or answers cannot be kept.
    """
    folder, share = Path(folder), process_share()
    rank, world = share["rank"], share["num_replicas"]
    identity = identity_of(teacher, data, view)
    views = Views(data, view)
    recorder = Recorder(teacher, encoding or Dense(), features, torch.device(device))
    try:
        fields, classes = recorder.rows(next(views.rows(range(min(2, views.samples)), 1)))  # for their shapes
        wanted = _header(identity, recorder.encoding, fields, classes, epochs, views.samples, world)
        if rank == 0:
            _check_space(folder, wanted)
            open_folder(folder, wanted)
        _barrier()
        header = open_folder(folder, wanted)
        with _bar(progress and rank == 0) as bar:
            mine = range(rank, header.shards, world)
            task = bar.add_task("teacher's answers", total=sum(header.rows(shard) for shard in mine))
            for shard in mine:
                _write(folder, header, shard, views, recorder, lambda rows: bar.advance(task, rows))
    finally:
        recorder.close()
    _barrier()
    return TeacherStore(folder, identity)


def _write(
    folder: Path, header: Header, shard: int, views: Views, recorder: Recorder, advance: Callable[[int], None]
) -> None:
    with ShardWriter(folder, header, shard) as writer:
        advance(writer.done)
        if writer.done == writer.files.rows:
            return
        for batch in views.rows(header.block(shard), header.epochs, start=writer.done):
            fields, _ = recorder.rows(batch)
            writer.append(fields)
            advance(len(fields["ids"]))


def _header(
    identity: Any, encoding: Encoding, fields: dict[str, Tensor], classes: int, epochs: int, samples: int, shards: int
) -> Header:
    kept = tuple(
        Field(name, str(value.dtype).removeprefix("torch."), tuple(value.shape[1:])) for name, value in fields.items()
    )
    chunk_rows = chunk_rows_for(sum(field.row_bytes for field in kept))
    return Header(identity, encoding, classes, epochs, samples, min(shards, samples), chunk_rows, kept)


def _check_finite(fields: dict[str, Tensor], ids: Tensor, dtype: str) -> None:
    """Raise for NaN and +inf, as what is too large for float16 becomes; -inf is a masked class."""
    for name, value in fields.items():
        if not value.is_floating_point():
            continue
        bad = ~(value < float("inf")).flatten(1).all(dim=1) if value.ndim > 1 else ~(value < float("inf"))
        if bool(bad.any()):
            raise ValueError(
                f"Expected the teacher's `{name}` to be finite in {dtype}, but got NaN or infinity for the samples "
                f"{ids[bad][:5].tolist()}. Check its weights and the normalisation of its inputs"
                + (", or keep float32." if dtype == "float16" else ".")
            )


def _check_space(folder: Path, header: Header) -> None:
    parent = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    there = sum(path.stat().st_size for path in folder.iterdir()) if folder.exists() else 0
    free, needed = shutil.disk_usage(parent).free, header.total_bytes - there
    if needed > free:
        raise OSError(
            f"Expected room for {needed / 1e9:.1f} GB of teacher outputs in {parent}, but {free / 1e9:.1f} GB are "
            f"free. {header.samples} samples x {header.epochs} epochs x {header.row_bytes} bytes: keep fewer classes "
            "(top_k), fewer epochs, or one clean view (view=clean)."
        )


def _bar(shown: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, disable=not shown, transient=True)


def _barrier() -> None:
    if dist.is_available() and dist.is_initialized():
        dist.barrier()
