"""Cheaper answers of the same network: a forward copy that is derived from it, by rule."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lightning_distill.checks import check_choice
from lightning_distill.dry_run import dry_run, map_tensors
from lightning_distill.memory_format import MEMORY_FORMATS, channels_last, in_order, runs_channels_last
from lightning_distill.teachers.fold import copy_with, foldable, folded
from lightning_distill.types import as_logits, call_model

PRECISIONS: dict[str, torch.dtype | None] = {
    "inherit": None,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp32": torch.float32,
}
# Largest difference that folding may make, relative to the largest logit.
TOLERANCE = 5e-6
# How a reason starts that nobody asked for.
FELL_BACK = "skipped: it"


@dataclass(frozen=True)
class Acceleration:
    """What may be done to make a teacher cheaper. What is done is decided by rule, never by timing.

    Args:
        fold_batchnorm: Make BatchNorm part of the layer before it, in float32, where the answers to an example stay the
            same within 5e-6 of the largest.
        memory_format: ``"auto"``: channels last for convolutional networks if ``fold_batchnorm``, as it is otherwise.
            ``"channels_last"`` or ``"preserve"``.
        precision: ``"bf16"``, ``"fp16"`` or ``"fp32"``, whatever the Trainer's; ``"inherit"`` follows the Trainer.
        compile: ``torch.compile`` it; a mapping holds arguments for that.

    Raises:
        ValueError: If an argument is none of these.
    """

    fold_batchnorm: bool = True
    memory_format: str = "auto"
    precision: str = "inherit"
    compile: bool | Mapping[str, Any] = False

    def __post_init__(self) -> None:
        check_choice("fold_batchnorm", self.fold_batchnorm, (True, False))
        check_choice("memory_format", self.memory_format, MEMORY_FORMATS)
        check_choice("precision", self.precision, PRECISIONS)
        if not isinstance(self.compile, (bool, Mapping)):
            raise ValueError(
                f"Expected `compile` to be true, false or a mapping of torch.compile's arguments, but got "
                f"{self.compile!r}."
            )

    @property
    def dtype(self) -> torch.dtype | None:
        """The precision, where the teacher has one of its own."""
        return PRECISIONS[self.precision]

    def derive(self, model: nn.Module, example: Any) -> ForwardCopy:
        """The copy of ``model`` to run; nothing about ``model`` itself is changed, and equal tensors are shared.

        Args:
            model: In eval mode, on the device and in the precision that it stays in.
            example: A few of its inputs, to compare the answers of the two.
        """
        # Built once and used in training, even if the first to ask is a validation in inference mode.
        with torch.inference_mode(False), torch.no_grad():
            last = runs_channels_last(model, self.memory_format)
            last = last and (self.fold_batchnorm or self.memory_format != "auto")
            network, fold = self._folded(model, example, last)
            network = _cast(network, self.dtype, last)
        applied = {
            "fold_batchnorm": fold,
            "memory_format": "channels_last" if last else "preserve",
            "precision": self.precision,
            "compile": "on" if self.compiles else "off",
        }
        options = self.compile if isinstance(self.compile, Mapping) else {}
        runs: Any = torch.compile(network, **options) if self.compiles else network
        return ForwardCopy(runs, self.dtype, last, applied)

    def original(self, model: nn.Module) -> ForwardCopy:
        """``model`` as it is, for passes in which its inner layers are read."""
        skipped = "skipped: inner layers are read" if self.fold_batchnorm else "off"
        applied = {
            "fold_batchnorm": skipped,
            "memory_format": "preserve",
            "precision": self.precision,
            "compile": "off",
        }
        return ForwardCopy(model, self.dtype, False, applied, casts=True)

    @property
    def compiles(self) -> bool:
        """Whether the copy is compiled."""
        return self.compile is not False

    def _folded(self, model: nn.Module, example: Any, last: bool) -> tuple[nn.Module, str]:
        """The network without those BatchNorms that could be folded, and what became of the others."""
        if not self.fold_batchnorm:
            return model, "off"
        norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
        if not norms:
            return model, "nothing to fold"
        dtypes = {p.dtype for p in model.parameters() if p.is_floating_point()}
        if dtypes != {torch.float32}:
            return model, f"skipped: in {' and '.join(sorted(str(d).removeprefix('torch.') for d in dtypes))}"
        try:
            pairs = foldable(model)
            clone = folded(model, pairs)
            difference = _difference(_on_cpu(model, False), _on_cpu(clone, last), example)
        except Exception as error:  # whatever the network's own code raises where torch.fx follows it
            return model, f"{FELL_BACK} could not be followed ({type(error).__name__}: {_first_line(error)})"
        if not difference <= TOLERANCE:
            return model, f"{FELL_BACK} would change an answer by {difference:.1e} of the largest logit"
        return (clone, f"{len(pairs)} of {len(norms)}") if pairs else (model, "nothing to fold")


@dataclass
class ForwardCopy:
    """A network, and how it is run.

    Attributes:
        network: What runs.
        dtype: Its own precision, in which autocast is off; ``None`` for that of its parameters, or of autocast.
        last: Its inputs are brought to ``torch.channels_last``.
        applied: What was done, as plain values.
        casts: It is not in ``dtype`` itself: autocast does that.
    """

    network: nn.Module
    dtype: torch.dtype | None
    last: bool
    applied: dict[str, str]
    casts: bool = False

    def __post_init__(self) -> None:
        parameter = next((p for p in self.network.parameters() if p.is_floating_point()), None)
        self._device_type = None if parameter is None else parameter.device.type
        self._inputs = None if parameter is None else parameter.dtype
        if self.dtype is not None and not self.casts:
            self._inputs = self.dtype

    def __call__(self, inputs: Any) -> Any:
        if self._inputs is not None and not self._under_autocast():
            inputs = map_tensors(inputs, lambda t: t.to(self._inputs) if t.is_floating_point() else t)
        with self._own_precision():
            return call_model(self.network, channels_last(inputs) if self.last else inputs)

    def _under_autocast(self) -> bool:
        return self.dtype is None and self._device_type is not None and torch.is_autocast_enabled(self._device_type)

    def _own_precision(self) -> AbstractContextManager[Any]:
        if self.dtype is None or self._device_type is None:
            return nullcontext()
        half = self.casts and self.dtype != torch.float32
        return torch.autocast(self._device_type, self.dtype if half else None, enabled=half)


def _cast(model: nn.Module, dtype: torch.dtype | None, last: bool) -> nn.Module:
    """``model`` in its own precision and order of memory; itself where that changes nothing."""

    def convert(owner: nn.Module, tensor: Tensor) -> Tensor:
        # BatchNorm's statistics keep their precision: it takes inputs of a lower one.
        if dtype is not None and tensor.is_floating_point() and not isinstance(owner, _BatchNorm):
            tensor = tensor.to(dtype)
        return in_order(tensor, torch.channels_last) if last else tensor

    return copy_with(model, convert) if dtype is not None or last else model


def _on_cpu(model: nn.Module, last: bool) -> nn.Module:
    """Where answers are compared: there, float32 is float32 (a GPU's convolutions round to TF32)."""
    with torch.no_grad():
        return _cast(copy_with(model, lambda owner, tensor: tensor.cpu()), None, last)


def _difference(model: nn.Module, other: nn.Module, example: Any) -> float:
    """Largest difference between the answers of two networks, relative to the largest answer."""
    with torch.autocast("cpu", enabled=False):
        first, second = (as_logits(dry_run(network, example), "teacher") for network in (model, other))
    return float((first - second).abs().max() / first.abs().max().clamp(min=torch.finfo(first.dtype).tiny))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:120]
