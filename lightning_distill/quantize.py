"""Static post-training quantisation to int8 by ONNX Runtime (https://onnxruntime.ai/docs/performance/)."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from lightning_distill.export import onnx_runtime
from lightning_distill.files import beside, replacing


def quantize_onnx(source: Path, target: Path, batches: Iterable[Any]) -> Path:
    """Write an ``.onnx`` network with 8-bit weights and activations, for any batch size as before.

    Weights get a scale per output channel. The range of every activation is what the calibration samples reach.

    Args:
        source: As :func:`lightning_distill.export.save` writes it.
        target: Where to.
        batches: Inputs to calibrate with: tensors ``[B, ...]`` or mappings of them. Take training samples, some
            hundred of them; never test samples.

    Returns:
        ``target``.

    Raises:
        ValueError: If there are no calibration samples.
        ModuleNotFoundError: Without the packages of the ``export`` extra.
    """
    runtime = onnx_runtime()
    from onnxruntime.quantization import QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    names = [node.name for node in runtime.InferenceSession(str(source)).get_inputs()]
    reader = _Reader(batches, names)
    if reader.empty:
        raise ValueError("Expected `batches` to hold samples to calibrate with, but got none.")
    with replacing(target) as whole, tempfile.TemporaryDirectory(**beside(target)) as folder, _quiet():
        prepared, part = Path(folder) / "prepared.onnx", Path(folder) / target.name
        quant_pre_process(source, prepared)
        quantize_static(prepared, part, reader, per_channel=True, weight_type=QuantType.QInt8)
        os.replace(part, whole)
    return target


class _Reader:
    """Calibration samples, one feed at a time, in the form that ONNX Runtime asks for."""

    def __init__(self, batches: Iterable[Any], names: list[str]) -> None:
        self.feeds: list[dict[str, np.ndarray]] = [_feed(inputs, names) for inputs in batches]
        self._rest: Iterator[dict[str, np.ndarray]] = iter(self.feeds)

    @property
    def empty(self) -> bool:
        return not self.feeds

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._rest, None)


def _feed(inputs: Any, names: list[str]) -> dict[str, np.ndarray]:
    tensors: list[Tensor] = list(inputs.values()) if isinstance(inputs, Mapping) else [inputs]
    return {name: tensor.cpu().numpy() for name, tensor in zip(names, tensors, strict=True)}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the advice to prepare what has just been prepared, which goes to the root logger."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
