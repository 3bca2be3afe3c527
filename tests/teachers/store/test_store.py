"""Round trips, resumption, and refusals."""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import stat
import tracemalloc
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, BinaryIO
from unittest.mock import patch

import pytest
import torch
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from lightning_distill.teachers.store import (
    Dense,
    Field,
    Header,
    Identity,
    ShardWriter,
    TeacherStore,
    TopK,
    open_folder,
)
from tests.faults.mutations import edits, examples, mutated
from tests.teachers.store.cases import CLASSES, EPOCHS, IDENTITY, IDS, SAMPLES, header, logits, rows, write


def read(store: TeacherStore, epoch: int, ids: torch.Tensor = IDS) -> torch.Tensor:
    return store.header.encoding.decode(store.fields(ids, epoch, store.logit_fields), CLASSES)


# What is written is what is read.


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("chunk_rows", [1, 4, 1000])
def test_round_trip__every_sample_and_epoch(tmp_path: Path, shards: int, chunk_rows: int) -> None:
    write(tmp_path, header(shards=shards, chunk_rows=chunk_rows))
    store = TeacherStore(tmp_path, IDENTITY)
    order = torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(1))
    for epoch in range(EPOCHS):
        said = logits()[epoch * SAMPLES : (epoch + 1) * SAMPLES]
        assert torch.equal(read(store, epoch, IDS[order]), said[order])
    assert len(store) == SAMPLES


@pytest.mark.parametrize("encoding", [Dense(), TopK(2), TopK(2, "float32")])
def test_round_trip__in_every_encoding(tmp_path: Path, encoding: Dense | TopK) -> None:
    write(tmp_path, header(encoding))
    expected = encoding.decode(encoding.encode(logits()), CLASSES)[:SAMPLES]
    assert torch.equal(read(TeacherStore(tmp_path), 0), expected)


def test_round_trip__a_sample_twice_and_none_at_all(tmp_path: Path) -> None:
    write(tmp_path, header())
    store = TeacherStore(tmp_path)
    assert torch.equal(read(store, 1, IDS[[2, 2]]), logits()[[SAMPLES + 2] * 2])
    assert read(store, 0, IDS[:0]).shape == (0, CLASSES)


def test_copies__go_by_path(tmp_path: Path) -> None:
    write(tmp_path, header())
    content = pickle.dumps(TeacherStore(tmp_path, IDENTITY))
    assert len(content) < 1000
    assert torch.equal(read(pickle.loads(content), 0), logits()[:SAMPLES])


def test_clean_view__serves_every_epoch(tmp_path: Path) -> None:
    write(tmp_path, header(epochs=1, identity=replace(IDENTITY, view="clean")))
    assert torch.equal(read(TeacherStore(tmp_path), 299), logits()[:SAMPLES])


def test_reading__touches_only_what_is_asked_for(tmp_path: Path) -> None:
    """Of 64 MB, one chunk is mapped in: the process does not grow by the rest."""
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("needs /proc to see how much is mapped in")
    fields = (Field("ids", "int64", ()), Field("logits", "float32", (1024,)))
    kept = open_folder(tmp_path, Header(IDENTITY, Dense("float32"), 1024, 1, 16384, 1, 256, fields))
    with ShardWriter(tmp_path, kept, 0) as writer:
        for first in range(0, 16384, 256):
            ids = torch.arange(first, first + 256)
            writer.append({"ids": ids, "logits": ids.float()[:, None].expand(-1, 1024)})

    def mapped() -> int:
        found = re.search(r"RssFile:\s+(\d+) kB", status.read_text())
        assert found is not None
        return int(found[1])

    before = mapped()
    store = TeacherStore(tmp_path)
    assert store.fields(torch.tensor([9999]), 0, ["logits"])["logits"][0, 7] == 9999
    assert 0 < mapped() - before < 8000


# What is asked for and not there.


def test_unknown_samples__are_named(tmp_path: Path) -> None:
    write(tmp_path, header())
    with pytest.raises(ValueError, match=r"sample ids that the store .* knows, but got \[4\] among 1 unknown ones"):
        read(TeacherStore(tmp_path), 0, torch.tensor([3, 4]))
    with pytest.raises(ValueError, match=r"got \[99999, -1\] among 2"):
        read(TeacherStore(tmp_path), 0, torch.tensor([99999, -1]))


@pytest.mark.parametrize("epoch", [-1, EPOCHS])
def test_epochs__that_were_not_stored(tmp_path: Path, epoch: int) -> None:
    write(tmp_path, header())
    with pytest.raises(ValueError, match=f"Expected an epoch below 2, .* but got {epoch}. Store more epochs"):
        read(TeacherStore(tmp_path), epoch)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("teacher", "another state of the teacher .* weights or its options.* dddddddddddd now"),
        ("data", "another state of the training data"),
        ("transforms", "another state of the transforms"),
    ],
)
def test_identity__another_part_is_named(tmp_path: Path, part: str, said: str) -> None:
    write(tmp_path, header())
    other = replace(IDENTITY, **{part: "d" * 64})
    with pytest.raises(ValueError, match=said) as caught:
        TeacherStore(tmp_path, other)
    others = {"teacher", "data", "transforms"} - {part}
    assert not any(f"the {other} (" in str(caught.value) for other in others)
    with pytest.raises(ValueError, match=r"holds another one\. What differs"):
        open_folder(tmp_path, header(identity=other))


def test_identity__another_view_is_named(tmp_path: Path) -> None:
    write(tmp_path, header())
    with pytest.raises(ValueError, match=r"the view \('augmented' in the store, 'clean' now\)"):
        TeacherStore(tmp_path, Identity(IDENTITY.teacher, IDENTITY.data, IDENTITY.transforms, "clean"))


def test_folder__another_shape_or_something_else(tmp_path: Path) -> None:
    write(tmp_path / "store", header())
    with pytest.raises(ValueError, match="What differs: encoding; fields"):
        open_folder(tmp_path / "store", header(TopK(2)))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("do not touch")
    with pytest.raises(ValueError, match=r"Expected an empty folder for a new store, but .* holds thesis.txt"):
        open_folder(tmp_path / "mine", header())


def test_duplicate_ids__are_named(tmp_path: Path) -> None:
    kept = open_folder(tmp_path, header(epochs=1))
    with ShardWriter(tmp_path, kept, 0) as writer:
        for row in rows(kept, 0):
            writer.append({**row, "ids": torch.tensor([5])})
    with pytest.raises(ValueError, match=r"to have an id of its own, but got \[5, 5, 5, 5, 5\] more than once"):
        TeacherStore(tmp_path)


def test_answers__of_another_shape(tmp_path: Path) -> None:
    kept = open_folder(tmp_path, header())
    with ShardWriter(tmp_path, kept, 0) as writer, pytest.raises(ValueError, match=r"`logits` as float32 \[5\] for ev"):
        writer.append({"ids": IDS[:1], "logits": torch.zeros(1, 6)})


# Interruptions.


class Mortal:
    """A file that gets half of one write down before the process is killed."""

    writes = 0

    def __init__(self, file: BinaryIO, kill: int) -> None:
        self.file, self.kill = file, kill

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def write(self, content: bytes) -> None:
        Mortal.writes += 1
        if Mortal.writes == self.kill:
            self.file.write(content[: len(content) // 2])
            self.file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        self.file.write(content)


def killed(folder: Path, kill: int) -> None:
    """In a process of its own: write until the kill."""
    opened = ShardWriter._open
    with patch.object(ShardWriter, "_open", lambda self, path: Mortal(opened(self, path), kill)):
        write(folder, header())


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a fork")
@pytest.mark.parametrize("kill", [1, 2, 3, 5, 35, 36])
def test_kill__what_is_complete_is_kept_and_the_rest_is_written(tmp_path: Path, kill: int) -> None:
    """Three writes make a chunk: ids, logits, digests. The kill falls into one of them."""
    process = get_context("fork").Process(target=killed, args=(tmp_path, kill))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    with pytest.raises(ValueError, match=r"The store is not complete, or damaged\. Write it again"):
        TeacherStore(tmp_path)
    kept = open_folder(tmp_path, header())
    with ShardWriter(tmp_path, kept, 0) as writer:
        assert writer.done == (kill - 1) // 3 * 4
        for row in rows(kept, 0, writer.done):
            writer.append(row)
    for epoch in range(EPOCHS):
        assert torch.equal(read(TeacherStore(tmp_path), epoch), logits()[epoch * SAMPLES : (epoch + 1) * SAMPLES])


def test_rewrite__a_damaged_chunk_is_found_and_made_anew(tmp_path: Path) -> None:
    kept = write(tmp_path, header())
    damage(tmp_path / "00000.1.bin", 4 * 4 * CLASSES * 2 + 3)
    with ShardWriter(tmp_path, kept, 0) as writer:
        assert writer.done == 8  # two chunks of four rows
        for row in rows(kept, 0, writer.done):
            writer.append(row)
    assert torch.equal(read(TeacherStore(tmp_path), 0), logits()[:SAMPLES])


def test_two_writers__the_second_waits_or_says_so(tmp_path: Path) -> None:
    kept = open_folder(tmp_path, header())
    with ShardWriter(tmp_path, kept, 0), pytest.raises(BlockingIOError, match="but another process is writing it"):
        ShardWriter(tmp_path, kept, 0, wait=0)
    with FileLock(tmp_path / "00000.lock", timeout=0):
        pass  # let go of


def test_files__follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write(tmp_path / "store", header())
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "store").iterdir()}
    assert set(modes.values()) == {0o640}, modes


# Damage.


def damage(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 0x10
    path.write_bytes(content)


def truncate(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


@pytest.mark.parametrize(
    ("hurt", "said"),
    [
        (lambda folder: damage(folder / "00000.1.bin", 17), r"00000.1.bin to hold what was written, but rows 0 to 3"),
        (lambda folder: damage(folder / "00000.0.bin", 3), r"00000.0.bin to hold what was written, but rows 0 to 3"),
        (lambda folder: damage(folder / "00000.sha256", 20), r"00000.1.bin to hold .* digest in 00000.sha256"),
        (lambda folder: truncate(folder / "00000.1.bin", 100), r"00000.1.bin to be 920 bytes long, but it has 100"),
        (lambda folder: (folder / "00000.0.bin").unlink(), r"00000.0.bin to be 368 bytes long, but there is no such"),
        (lambda folder: damage(folder / "header.json", 300), r"header.json to be the header of a store"),
        (lambda folder: truncate(folder / "header.json", 40), r"but it is no JSON. Delete the folder"),
        (lambda folder: (folder / "header.json").write_text("[" * 60000), r"but it is no JSON"),
        (lambda folder: (folder / "header.json").write_text(" " * 70000), r"but it is longer than 65536 bytes"),
        (lambda folder: (folder / "header.json").write_text('{"a": 1}'), r"but it is another kind of file"),
    ],
)
def test_damage__is_an_error_that_names_the_file(tmp_path: Path, hurt: Callable[[Path], Any], said: str) -> None:
    write(tmp_path, header())
    hurt(tmp_path)
    with pytest.raises(ValueError, match=said):
        read(TeacherStore(tmp_path), 0)


def test_version__another_one_is_refused(tmp_path: Path) -> None:
    write(tmp_path, header())
    path = tmp_path / "header.json"
    path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(ValueError, match="its format_version is 2, and this version reads 1"):
        TeacherStore(tmp_path)


@pytest.mark.parametrize("name", ["samples", "epochs", "classes", "chunk_rows", "shards"])
@pytest.mark.parametrize("size", [-1, 0, 2**31, 2**40, 2**62, 1.5, True, "1", None])
def test_sizes__that_a_header_makes_up_reserve_nothing(tmp_path: Path, name: str, size: Any) -> None:
    """With a key that fits, as someone could compute it: the files' lengths decide."""
    write(tmp_path, header())
    path = tmp_path / "header.json"
    content = json.loads(path.read_text())
    content[name] = size
    if isinstance(size, int) and not isinstance(size, bool):
        content["key"] = replace(header(), **{name: size}).key
    path.write_text(json.dumps(content))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="Expected"):
            read(TeacherStore(tmp_path), 0)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("count", [60, pytest.param(2000, marks=pytest.mark.slow)])
def test_mutations__never_give_a_wrong_answer(tmp_path: Path, count: int, tried: Callable[[str, int], None]) -> None:
    """A file is changed, cut, or takes the place of another. What is read is right, or an error names the store."""
    write(tmp_path, header(shards=2))
    files = {path: path.read_bytes() for path in sorted(tmp_path.iterdir()) if path.suffix != ".lock"}
    right = [logits()[epoch * SAMPLES : (epoch + 1) * SAMPLES] for epoch in range(EPOCHS)]
    outcomes = Counter[str]()

    @examples(count)
    @given(st.sampled_from(sorted(files)), st.sampled_from(sorted(files)), edits(), st.booleans())
    def try_one(path: Path, other: Path, change: Any, swap: bool) -> None:
        path.write_bytes(files[other] if swap else mutated(files[path], change))
        try:
            store = TeacherStore(tmp_path, IDENTITY)
            assert all(torch.equal(read(store, epoch), right[epoch]) for epoch in range(EPOCHS))
            found = "read"  # nothing was changed: a file swapped for itself, a space in the header
        except ValueError as error:
            found = "refused" if str(tmp_path) in str(error) else f"without the folder: {error}"
        finally:
            path.write_bytes(files[path])
        assert found in ("read", "refused")
        outcomes[found] += 1

    try_one()
    tried("damaged files", outcomes.total())
    assert outcomes["refused"] > outcomes["read"]
