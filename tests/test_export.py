"""What is written is checked before it replaces what was there."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from lightning_distill import export


class Noisy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand_like(x)


@pytest.mark.parametrize("suffix", [".pt2", ".onnx"])
def test_a_program_that_computes_something_else__replaces_nothing(suffix: str, tmp_path: Any) -> None:
    path = tmp_path / f"student{suffix}"
    path.write_text("what was saved before")
    with pytest.raises(ValueError, match="to compute what the network computes"):
        export.save(Noisy(), path, torch.zeros(2, 3))
    assert path.read_text() == "what was saved before"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_unknown_suffix(tmp_path: Any) -> None:
    with pytest.raises(
        ValueError, match=r"one of '.safetensors', '.pt2', '.onnx', but got '.onx'. Did you mean '.onnx'"
    ):
        export.save(nn.Identity(), tmp_path / "student.onx", torch.zeros(2, 3))


def test_missing_example(tmp_path: Any) -> None:
    with pytest.raises(ValueError, match=r"Expected `example_input` for \.pt2, but got None"):
        export.save(nn.Identity(), tmp_path / "student.pt2")


def test_leaves_mode_and_weights_alone(tmp_path: Any) -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout())
    before = {name: value.clone() for name, value in network.state_dict().items()}
    export.save(network, tmp_path / "a.pt2", torch.ones(1, 3))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(module.training for module in network.modules())


class FixedBatch(nn.Module):
    """Computes what it should for a batch of two, and for no other."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(2, -1)


class ConstantBatch(nn.Module):
    """The same by a constant, as positions of a fixed size are."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.ones(2, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.offset


@pytest.mark.parametrize("suffix", [".pt2", ".onnx"])
@pytest.mark.parametrize("network", [FixedBatch(), ConstantBatch()], ids=["reshape", "constant"])
def test_a_network_that_fixes_the_batch__is_refused(suffix: str, network: nn.Module, tmp_path: Any) -> None:
    with pytest.raises(ValueError, match="Expected the network to take any batch size, but its code fixes it"):
        export.save(network, tmp_path / f"student{suffix}", torch.zeros(2, 3))
    assert list(tmp_path.iterdir()) == []


class Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_a_network_that_cannot_be_exported__is_named(tmp_path: Any) -> None:
    with pytest.raises(ValueError, match=r"Expected the network to be exportable by torch.export, but got: "):
        export.save(Branches(), tmp_path / "student.pt2", torch.ones(2, 3))


def onnx_runs(path: Any, size: int) -> Any:
    session = onnxruntime.InferenceSession(str(path))
    (node,) = session.get_inputs()
    return session.run(None, {node.name: np.ones((size, 3), dtype=np.float32)})[0]


def test_onnx__one_file_of_a_stated_opset_for_any_batch(tmp_path: Any) -> None:
    path = export.save(nn.Linear(3, 4), tmp_path / "a.onnx", torch.ones(1, 3))
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.onnx"]
    assert onnx.load(path).opset_import[0].version == export.OPSET
    assert isinstance(onnxruntime.InferenceSession(str(path)).get_inputs()[0].shape[0], str)
    assert onnx_runs(path, 7).shape == (7, 4)


def test_onnx__weights_that_one_file_cannot_hold(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "ONE_FILE", 1000)
    network = nn.Linear(3, 400)
    path = export.save(network, tmp_path / "a.onnx", torch.ones(2, 3))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.onnx", "a.onnx.data"]
    torch.testing.assert_close(torch.from_numpy(onnx_runs(path, 5)), network(torch.ones(5, 3)))


def test_read_program__computes_what_was_saved(tmp_path: Any) -> None:
    network = nn.Linear(3, 4)
    inputs = torch.randn(5, 3)
    for suffix in (".pt2", ".onnx"):
        path = export.save(network, tmp_path / f"a{suffix}", inputs[:2])
        torch.testing.assert_close(export.read_program(path)(inputs), network(inputs))
    with pytest.raises(ValueError, match=r"one of '.pt2', '.onnx'"):
        export.read_program(tmp_path / "a.safetensors")
