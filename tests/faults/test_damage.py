"""Files that are damaged, or made to do harm: an error that names the file, never a crash, a hang or code that runs."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from torch import nn
from torch.distributed.checkpoint.metadata import Metadata

from lightning_distill.report.folder import RunFolder
from lightning_distill.saved_config import read_config
from lightning_distill.sharded import read_shards
from lightning_distill.weights import read_weights, save_weights
from tests.faults.mutations import edits, examples, mutated


def good_file(name: str, folder: Path) -> Path:
    path, network = folder / name, nn.Linear(3, 2)
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".safetensors":
        save_weights(network, path, metadata={"recipe": {"seed": 0}})
    elif path.suffix == ".ckpt":
        torch.save({"state_dict": network.state_dict(), "epoch": 3}, path)
    elif path.suffix == ".json":
        RunFolder(path.parent).write("student", {"test/accuracy": 0.5, "best_epoch": 3})
    else:
        path.write_text("output_dir: outputs\nstudent:\n  _target_: torch.nn.Linear\n  in_features: 3\nseed: [1, 2]\n")
    return path


READERS: dict[str, Callable[[Path], object]] = {
    "weights.safetensors": read_weights,
    "last.ckpt": read_weights,
    "metrics.json": lambda path: RunFolder(path.parent).read(),
    "config.yaml": read_config,
}


@pytest.mark.parametrize("count", [100, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", READERS)
def test_mutations__give_an_error_that_names_the_file_or_are_read(
    name: str, count: int, tmp_path: Path, tried: Callable[[str, int], None]
) -> None:
    path = good_file(name, tmp_path / "files")
    content, outcomes = path.read_bytes(), Counter[str]()

    @examples(count)
    @given(edits())
    def try_one(change: Any) -> None:
        path.write_bytes(mutated(content, change))
        try:
            READERS[name](path)
            found = "read"
        except ValueError as error:
            found = "refused" if str(path) in str(error) else f"without the path: {error}"
        assert found in ("read", "refused")
        outcomes[found] += 1

    try_one()
    tried("damaged files", outcomes.total())
    assert outcomes["refused"] > outcomes["read"] > 0


class Harm:
    """What a hostile pickle holds."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


def test_pickles__are_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": {"weight": Harm(tmp_path / "harm")}}, tmp_path / "bad.ckpt")
    with pytest.raises(ValueError, match=r"bad\.ckpt.*objects besides tensors and plain values"):
        read_weights(tmp_path / "bad.ckpt")
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards/.metadata").write_bytes(pickle.dumps(Harm(tmp_path / "harm")))
    with pytest.raises(ValueError, match=r"shards.*it names posix\.mkdir, which is no description of a tensor"):
        read_shards(tmp_path / "shards")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("content", [b"", b"text", pickle.dumps([1, 2]), pickle.dumps(Metadata({}))[:-20]])
def test_shards__damaged(content: bytes, tmp_path: Path) -> None:
    (tmp_path / ".metadata").write_bytes(content)
    with pytest.raises(ValueError, match="to be a checkpoint in shards"):
        read_shards(tmp_path)


def test_bomb__a_compressed_checkpoint_is_not_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 50_000_000)
    assert (tmp_path / "bomb.ckpt").stat().st_size < 100_000
    with pytest.raises(ValueError, match=r"bomb\.ckpt.*compressed, 50000000 bytes when unpacked"):
        read_weights(tmp_path / "bomb.ckpt")


@pytest.mark.parametrize("size", [2**40, 2**63 - 1, 10**6])
def test_bomb__a_safetensors_header_that_promises_too_much(size: int, tmp_path: Path) -> None:
    header = b'{"a":{"dtype":"F32","shape":[%d],"data_offsets":[0,%d]}}' % (size // 4, size)
    (tmp_path / "big.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ValueError, match=r"big\.safetensors"):
        read_weights(tmp_path / "big.safetensors")
    (tmp_path / "big.safetensors").write_bytes(size.to_bytes(8, "little") + b"{}")
    with pytest.raises(ValueError, match=r"big\.safetensors"):
        read_weights(tmp_path / "big.safetensors")


def test_bomb__a_config_of_aliases(tmp_path: Path) -> None:
    lines = ["output_dir: x", "a0: &a0 [1, 1]"] + [f"a{i}: &a{i} [{f'*a{i - 1}, ' * 9}]" for i in range(1, 12)]
    (tmp_path / "config.yaml").write_text("\n".join(lines))
    with pytest.raises(ValueError, match=r"config\.yaml.*repeats parts of itself by aliases"):
        read_config(tmp_path / "config.yaml")


def test_config__python_tags_are_not_run(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(f"output_dir: !!python/object/apply:os.mkdir ['{tmp_path / 'harm'}']\n")
    with pytest.raises(ValueError, match=r"config\.yaml.*cannot be read"):
        read_config(tmp_path / "config.yaml")
    assert not (tmp_path / "harm").exists()
