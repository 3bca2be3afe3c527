"""Static quantisation: smaller, close, for any batch size, and nothing without samples."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from lightning_distill.export import read_program, save
from lightning_distill.quantize import quantize_onnx


def test_quantize__is_smaller_and_close(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 5)).eval()
    inputs = torch.randn(64, 64)
    plain = save(network, tmp_path / "plain.onnx", inputs[:2])
    small = quantize_onnx(plain, tmp_path / "small.onnx", [inputs[:32], inputs[32:]])
    assert small.stat().st_size < 0.4 * plain.stat().st_size
    for size in (1, 2, 7):
        expected, got = network(inputs[:size]), read_program(small)(inputs[:size])
        assert got.shape == expected.shape
        error = (got - expected).abs().max()
        assert 0 < error < 0.05 * expected.abs().max()  # int8 steps are 1/256 of a range
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plain.onnx", "small.onnx"]


def test_quantize__needs_samples(tmp_path: Path) -> None:
    plain = save(nn.Linear(3, 2), tmp_path / "plain.onnx", torch.zeros(2, 3))
    with pytest.raises(ValueError, match="Expected `batches` to hold samples"):
        quantize_onnx(plain, tmp_path / "small.onnx", [])
    assert [path.name for path in tmp_path.iterdir()] == ["plain.onnx"]
