"""A store that somebody prepared: its header lies in good order, its files lead elsewhere."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lightning_distill.teachers.store import Dense, Field, Header, ShardWriter, TeacherStore, TopK, open_folder
from lightning_distill.teachers.store.header import write_header
from tests.teachers.store.cases import header, write


def fields(*kept: tuple[str, str, tuple[int, ...]]) -> tuple[Field, ...]:
    return (Field("ids", "int64", ()), *(Field(*field) for field in kept))


@pytest.mark.parametrize(
    "lying",
    [
        header(classes=2**22 + 1),
        header(classes=6),
        header(shards=24),
        header(fields=fields()),
        header(fields=fields(("logits", "float16", (5,)))),
        header(fields=fields(("logits", "float32", (5,)), ("more", "float32", (5,)))),
        header(fields=fields(("logits", "float32", (2**31, 2**31)))),
        header(TopK(2), classes=2**20),  # whose indices take more than 16 bits
        replace(header(TopK(2)), encoding=TopK(3)),
        replace(header(TopK(2)), encoding=Dense()),
        header(
            TopK(2), fields=fields(("values", "float16", (2,)), ("classes", "int16", (2,)), ("rest", "float32", (9,)))
        ),
    ],
    ids=lambda lying: f"{lying.classes} {lying.fields[1:]!s:.60}",
)
def test_headers__that_lie_consistently(lying: Header, tmp_path: Path) -> None:
    """Their own hash is right, and nothing is reserved for what they promise."""
    write_header(tmp_path, lying)
    with pytest.raises(ValueError, match=r"header\.json to be the header of a store.*out of range.*Delete the folder"):
        TeacherStore(tmp_path)


@pytest.mark.parametrize("content", ["[" * 60_000, '{"a":' * 12_000, '{"format": NaN}', '{"format_version": 1e999}'])
def test_headers__that_are_no_header(content: str, tmp_path: Path) -> None:
    (tmp_path / "header.json").write_text(content)
    with pytest.raises(ValueError, match=r"header\.json to be the header of a store"):
        TeacherStore(tmp_path)


@pytest.mark.parametrize("name", ["00000.0.bin", "00000.1.bin", "00000.sha256", "00000.lock", "header.lock"])
def test_links__are_not_written_through(name: str, tmp_path: Path) -> None:
    """Another file of the user's would be cut to the length of the shard."""
    (tmp_path / "precious").write_text("mine")
    begun = open_folder(tmp_path / "store", header())
    (tmp_path / "store" / name).unlink(missing_ok=True)
    (tmp_path / "store" / name).symlink_to(tmp_path / "precious")

    def begin() -> Any:
        with ShardWriter(tmp_path / "store", open_folder(tmp_path / "store", begun), 0):
            pass

    with pytest.raises(ValueError, match=f"{name} to be a file of a store of teacher outputs, but it leads elsewhere"):
        begin()
    assert (tmp_path / "precious").read_text() == "mine"


def test_hash__of_another_header(tmp_path: Path) -> None:
    whole = write(tmp_path, header())
    content = json.loads((tmp_path / "header.json").read_text())
    (tmp_path / "header.json").write_text(json.dumps({**content, "key": replace(whole, epochs=1).key}))
    with pytest.raises(ValueError, match="do not match its own hash"):
        TeacherStore(tmp_path)
