"""What is written is checked before it replaces what was there."""

from __future__ import annotations

from typing import Any

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
