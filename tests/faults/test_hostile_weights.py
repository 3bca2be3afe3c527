"""Files of weights that were made to do harm: one error that names the file, in no time and with little memory."""

from __future__ import annotations

import io
import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lightning_distill.pipeline.preflight import check_checkpoint
from lightning_distill.weights import load_weights, read_weights

ROOM = 2**30  # bytes that a reader may reserve beside what the process has


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    """Whoever reserves more than a gigabyte fails."""
    if sys.platform != "linux":
        yield
        return
    import resource

    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


def saved(content: Any, path: Path, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def fits(**others: Any) -> dict[str, Any]:
    return {**nn.Linear(3, 2).state_dict(), **others}


def claiming(path: Path, count: int, legacy: bool) -> Path:
    """A file whose tensor says that it and its storage hold ``count`` numbers, in the place of 4."""
    buffer = io.BytesIO()
    torch.save({"w": torch.arange(4.0)}, buffer, _use_new_zipfile_serialization=not legacy)
    number = b"\x8a\x08" + count.to_bytes(8, "little")
    # The storage ends with its size (and None, in the older format), the tensor's shape is a tuple of one.
    storage = (b"K\x04Ntq", number + b"Ntq") if legacy else (b"K\x04tq", number + b"tq")
    shape = (b"K\x04\x85", number + b"\x85")
    if legacy:
        path.write_bytes(buffer.getvalue().replace(*storage).replace(*shape))
        return path
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            part = source.read(name)
            target.writestr(name, part.replace(*storage).replace(*shape) if name.endswith("data.pkl") else part)
    return path


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("count", [2**20, 2**29, 2**40, 2**61])
def test_sizes__that_the_file_does_not_have(count: int, legacy: bool, tmp_path: Path) -> None:
    assert read_weights(claiming(tmp_path / "good.pt", 4, legacy))["w"].tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match=r"bad\.pt to be a file of weights.*it cannot be read"):
        read_weights(claiming(tmp_path / "bad.pt", count, legacy))


def test_mappings__within_themselves(tmp_path: Path) -> None:
    content: dict[str, Any] = {"seed": 1}
    content["model"] = content
    with pytest.raises(ValueError, match=r"cycle\.pt to hold a network's weights by name"):
        read_weights(saved(content, tmp_path / "cycle.pt"))
    with pytest.raises(ValueError, match=r"cycle\.pt.*Expected `submodule`"):
        load_weights(nn.Linear(3, 2), tmp_path / "cycle.pt", submodule="net")


def test_mappings__that_stand_for_2_to_the_40_tensors(tmp_path: Path) -> None:
    content: dict[str, Any] = {"x": torch.ones(1)}
    for _ in range(40):
        content = {"left": content, "right": content}
    with pytest.raises(ValueError, match=r"laughs\.pt.*Expected `submodule`"):
        load_weights(nn.Linear(3, 2), saved(content, tmp_path / "laughs.pt"), submodule="net")


def test_mappings__nested_deeply(tmp_path: Path) -> None:
    content: dict[str, Any] = fits()
    for _ in range(400):
        content = {"model": content}
    assert read_weights(saved(content, tmp_path / "deep.pt")).keys() == {"weight", "bias"}


def test_tensors__that_repeat_one_number(tmp_path: Path) -> None:
    huge = fits(weight=torch.ones(1).expand(2**30, 2**20))
    with pytest.raises(ValueError, match=r"1 has another shape \(weight: \[1073741824, 1048576\] in the file"):
        load_weights(nn.Linear(3, 2), saved(huge, tmp_path / "repeated.pt"))


@pytest.mark.filterwarnings("ignore:.*[qQ]uantize.*", "ignore:.*[sS]parse.*", "ignore:TypedStorage")
@pytest.mark.parametrize(
    ("weight", "said"),
    [
        (torch.ones(2, 3, dtype=torch.complex64), "torch.complex64 in the file, torch.float32 in the network"),
        (torch.ones(2, 3, dtype=torch.int8), "torch.int8 in the file"),
        (torch.ones(2, 3, dtype=torch.bool), "torch.bool in the file"),
        (torch.ones(2, 3).to(torch.float8_e4m3fn), "torch.float8_e4m3fn in the file"),
        (torch.ones(2, 3).to_sparse(), "torch.float32, torch.sparse_coo in the file"),
        (torch.ones(2, 3, device="meta"), "torch.float32, without values in the file"),
    ],
    ids=str,
)
def test_types__that_are_no_weights(weight: torch.Tensor, said: str, tmp_path: Path) -> None:
    network = nn.Linear(3, 2)
    before = network.weight.detach().clone()
    with pytest.raises(ValueError, match=r"1 has another type \(weight: " + said):
        load_weights(network, saved(fits(weight=weight), tmp_path / "odd.pt"))
    assert torch.equal(network.weight, before)


def test_types__of_other_precision_are_taken(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    content = network.half().state_dict()
    content["1.num_batches_tracked"] = torch.tensor(7.0)  # an average of counters
    load_weights(network.double(), saved(content, tmp_path / "half.pt"))
    assert int(network[1].num_batches_tracked) == 7


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan__is_noticed_when_weights_are_loaded(value: float, tmp_path: Path) -> None:
    network = nn.Linear(3, 2)
    path = saved(fits(bias=torch.tensor([0.0, value])), tmp_path / "spoilt.pt")
    with pytest.raises(ValueError, match=r"weights in .*spoilt\.pt to be finite, but bias holds NaN or infinity"):
        load_weights(network, path)
    assert bool(network.bias.isfinite().all())
    with pytest.raises(ValueError, match=r"spoilt\.pt to be finite, but bias holds NaN.*Take an earlier checkpoint"):
        check_checkpoint(path, network)


def test_buffers__may_hold_infinity(tmp_path: Path) -> None:
    """As masks of attention do."""
    network = nn.Linear(3, 2)
    network.register_buffer("mask", torch.zeros(2))
    load_weights(network, saved(fits(mask=torch.tensor([0.0, float("-inf")])), tmp_path / "masked.pt"))
    assert network.get_buffer("mask").tolist() == [0.0, float("-inf")]


def test_archives__with_entries_twice_or_outside(tmp_path: Path) -> None:
    path = saved(fits(), tmp_path / "odd.pt")
    with zipfile.ZipFile(path) as source:
        entries = {name: source.read(name) for name in source.namelist()}
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../../outside", b"1")
        archive.writestr("/tmp/outside", b"1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr(next(iter(entries)), b"2")
    try:
        read_weights(path)
    except ValueError as error:
        assert "odd.pt to be a file of weights" in str(error)  # noqa: PT017 - versions of torch differ
    assert sorted(item.name for item in tmp_path.iterdir()) == ["odd.pt"]
    assert not (tmp_path.parents[1] / "outside").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
@pytest.mark.parametrize("suffix", [".pt", ".ckpt", ".safetensors"])
def test_paths__that_are_no_files(suffix: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / f"pipe{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    (tmp_path / f"zero{suffix}").symlink_to("/dev/zero")
    (tmp_path / f"loop{suffix}").symlink_to(tmp_path / f"loop{suffix}")
    for name, said in (("pipe", "no ordinary file"), ("folder", "is a folder"), ("zero", "no ordinary file")):
        with pytest.raises(FileNotFoundError, match=f"{name}{suffix}.*{said}"):
            read_weights(tmp_path / f"{name}{suffix}")
    with pytest.raises((FileNotFoundError, RuntimeError)):
        read_weights(tmp_path / f"loop{suffix}")


def test_names__that_are_no_text(tmp_path: Path) -> None:
    path = saved(fits(), tmp_path / os.fsdecode(b"\xff.pt")) if sys.platform == "linux" else tmp_path / "a.pt"
    load_weights(nn.Linear(3, 2), path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="it cannot be read"):
        read_weights(path)
