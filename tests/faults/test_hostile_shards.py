"""A sharded checkpoint that was made to do harm: its list of shards is a pickle, its shards are named by that."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.checkpoint import FileSystemReader, FileSystemWriter, save
from torch.distributed.checkpoint.metadata import Metadata

from lightning_distill.sharded import check_shards, consolidate, read_shards
from lightning_distill.weights import read_weights

# torch 2.7, of its own way to write shards.
pytestmark = pytest.mark.filterwarnings("ignore:TypedStorage is deprecated:UserWarning")

DESCRIPTIONS = "torch.distributed.checkpoint.metadata"
WEIGHTS = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(3, dtype=torch.int64)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with pytest.warns(UserWarning, match="single process"):
        save({"state_dict": WEIGHTS}, storage_writer=FileSystemWriter(tmp_path / "shards"), no_dist=True)
    torch.save({"epoch": 3}, tmp_path / "shards/meta.pt")
    return tmp_path / "shards"


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def changed(cls: str, attribute: str, value: bytes) -> bytes:
    """A pickle that sets an attribute of a class, or of a module."""
    return b"\x80\x02" + named(DESCRIPTIONS, cls) + b"N}" + text(attribute) + value + b"s\x86b."


def test_good_one__is_read_and_made_a_file(folder: Path, tmp_path: Path) -> None:
    found = read_shards(folder)
    assert found.keys() == WEIGHTS.keys()
    assert all(torch.equal(found[name], WEIGHTS[name]) for name in WEIGHTS)
    consolidate(folder, tmp_path / "one.ckpt")
    assert torch.equal(read_weights(tmp_path / "one.ckpt")["a"], WEIGHTS["a"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        # `dataclass` compiles names of fields, and a pickle can say what these are.
        (b"\x80\x02" + named(DESCRIPTIONS, "dataclass") + named(DESCRIPTIONS, "Metadata") + b"\x85R.", "dataclass"),
        (changed("os", "system", named("torch", "Size")), f"names {DESCRIPTIONS}.os,"),
        (changed("Metadata", "__annotations__", b"}"), "it changes <class "),
        (b"\x80\x04" + text("torch") + text("os.system") + b"\x93.", r"names torch\.os\.system"),
        (b"\x80\x02" + named("torch.serialization", "load") + b".", r"names torch\.serialization\.load"),
        (b"\x80\x02}r\xff\xff\xff\x7f.", "holds a dict, no list of shards"),  # C's reader reserves 32 GB for this
        (b"\x80\x05\x8e" + (2**40).to_bytes(8, "little") + b"a.", ""),
        (b"\x80\x02" + b"]" * 10_000 + b"a" * 9_999 + b".", "holds a list, no list of shards"),
    ],
)
def test_list_of_shards__that_is_no_description(content: bytes, said: str, folder: Path) -> None:
    (folder / ".metadata").write_bytes(content)
    with pytest.raises(ValueError, match=f"(?s)shards to be a checkpoint in shards.*cannot be read: .*{said}"):
        read_shards(folder)
    with pytest.raises(ValueError, match="shards to be a checkpoint in shards"):
        check_shards(folder)
    assert os.system.__module__ == "posix" or os.name == "nt"


def rewritten(folder: Path, change: Callable[[Metadata, Any], None]) -> None:
    """Write the list of shards anew after a change of itself and of the entry of ``a``."""
    import pickle

    metadata = FileSystemReader(folder).read_metadata()
    change(metadata, next(info for index, info in metadata.storage_data.items() if index.fqn.endswith("a")))
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))


@pytest.mark.parametrize("name", ["/dev/zero", "../secret", "sub/../../secret", "", "..", "pipe", "folder"])
def test_shards__that_are_elsewhere_or_no_files(name: str, folder: Path) -> None:
    (folder.parent / "secret").write_bytes(b"1")
    (folder / "folder").mkdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe")
    rewritten(folder, lambda _, info: setattr(info, "relative_path", name))
    with pytest.raises(
        ValueError, match=r"checkpoint in shards.*(which is no file in it|no ordinary|no such|a folder)"
    ):
        read_shards(folder)


def test_shards__of_tensors_that_are_too_large(folder: Path) -> None:
    def grow(metadata: Metadata, _: Any) -> None:
        entry: Any = metadata.state_dict_metadata["state_dict.a"]
        entry.size = torch.Size([2**40])

    rewritten(folder, grow)
    with pytest.raises(ValueError, match=r"with state_dict\.a its tensors would be larger than all shards together"):
        read_shards(folder)


def test_shards__that_are_compressed(folder: Path) -> None:
    file, plain = io.BytesIO(), io.BytesIO()
    torch.save(torch.zeros(10**6), plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    assert len(file.getvalue()) < 10_000
    (folder / "bomb").write_bytes(file.getvalue())

    def point(_: Metadata, info: Any) -> None:
        info.relative_path, info.offset, info.length = "bomb", 0, 2**60

    rewritten(folder, point)
    with pytest.raises(ValueError, match=r"compressed, 40\d+ bytes when unpacked"):
        read_shards(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
@pytest.mark.parametrize("name", [".metadata", "meta.pt"])
def test_pipes__are_not_waited_for(name: str, folder: Path) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises((ValueError, FileNotFoundError), match="no ordinary file"):
        consolidate(folder, folder.parent / "one.ckpt")
    assert not (folder.parent / "one.ckpt").exists()
