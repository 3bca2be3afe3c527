"""The shapes that batches and model outputs may have, and one way to read each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

INPUT_KEYS = ("inputs", "input", "pixel_values", "image", "images", "x")
TARGET_KEYS = ("target", "targets", "labels", "label", "y")
SAMPLE_ID_KEYS = ("sample_ids", "sample_id")
LOGIT_KEYS = ("logits", "out")


class Batch(NamedTuple):
    """One batch: what goes into the networks, the labels, and which samples these are.

    Attributes:
        inputs: A tensor ``[B, ...]``, or a mapping of keyword arguments for the networks.
        target: ``[B, ...]`` class indices, -100 where there is no label, or probabilities shaped as the logits;
            ``None`` where no sample has one.
        sample_ids: ``[B]`` integer positions in the data set, for losses and stores that remember samples.
        teacher_input: What the teacher sees where that is something else: another resolution, another modality.

    Example:
        >>> import torch
        >>> batch = Batch(torch.zeros(2, 3), torch.tensor([1, -100]))  # -100: this sample has no label
        >>> batch.inputs.shape, batch.sample_ids
        (torch.Size([2, 3]), None)
    """

    inputs: Any
    target: Tensor | None = None
    sample_ids: Tensor | None = None
    teacher_input: Any = None


def as_batch(batch: Any) -> Batch:
    """Read a tuple, a NamedTuple or a mapping as a :class:`Batch`.

    Args:
        batch: ``(inputs, target)``, ``(inputs, target, sample_ids)``, ``(inputs, target, sample_ids, teacher_input)``,
            or a mapping with an input (``inputs``, ``pixel_values``, ``image``, ``x``), a label (``target``,
            ``labels``, ``y``) and, where the teacher sees something else, ``teacher_input``. A mapping with other
            inputs (``input_ids``, ``attention_mask``) is passed to the networks as keyword arguments.

    Raises:
        TypeError: If the batch is none of these.

    Example:
        >>> import torch
        >>> as_batch({"pixel_values": torch.zeros(2, 3), "labels": torch.tensor([0, 1])}).target
        tensor([0, 1])
    """
    if isinstance(batch, Batch):
        return batch
    if isinstance(batch, Mapping):
        return _from_mapping(batch)
    fields = getattr(batch, "_fields", None)
    if fields is not None and any(name in INPUT_KEYS for name in fields):
        return _from_mapping(batch._asdict())
    if isinstance(batch, (tuple, list)) and 1 <= len(batch) <= len(Batch._fields):
        return Batch(*batch)
    raise TypeError(
        "Expected `batch` to be (inputs, target), (inputs, target, sample_ids) or a mapping with an input and a label, "
        f"but got {describe(batch)}. Have the data loader yield one of these, or override `unpack_batch`."
    )


def _from_mapping(batch: Mapping[str, Any]) -> Batch:
    rest = dict(batch)
    target = _pop_first(rest, TARGET_KEYS)
    sample_ids = _pop_first(rest, SAMPLE_ID_KEYS)
    teacher_input = rest.pop("teacher_input", None)
    if not rest:
        raise TypeError(
            f"Expected `batch` to hold an input under one of {', '.join(INPUT_KEYS)}, but got the keys {sorted(batch)}."
        )
    only = next(iter(rest)) if len(rest) == 1 else None
    return Batch(rest[only] if only in INPUT_KEYS else rest, target, sample_ids, teacher_input)


def _pop_first(mapping: dict[str, Any], keys: tuple[str, ...]) -> Any:
    for key in keys:
        if key in mapping:
            return mapping.pop(key)
    return None


def call_model(model: nn.Module, inputs: Any) -> Any:
    """Call ``model`` with a tensor, or with a mapping's entries as keyword arguments."""
    return model(**inputs) if isinstance(inputs, Mapping) else model(inputs)


def as_logits(output: Any, role: str = "model") -> Tensor:
    """Read the logits from a tensor, a tuple (first entry), a mapping or an object with ``.logits``.

    Raises:
        TypeError: If no tensor of logits is found.

    Example:
        >>> import torch
        >>> as_logits({"logits": torch.ones(1, 2)})
        tensor([[1., 1.]])
    """
    if isinstance(output, Tensor):
        return output
    logits = _named_logits(output)
    if logits is None and isinstance(output, (tuple, list)) and output:
        logits = output[0]
    if isinstance(logits, Tensor):
        return logits
    raise TypeError(
        f"Expected the {role} to return a tensor, a tuple of tensors, a mapping with `logits` or an object with "
        f"`.logits`, but got {describe(output)}."
    )


def _named_logits(output: Any) -> Any:
    for key in LOGIT_KEYS:
        if isinstance(output, Mapping):
            if key in output:
                return output[key]
        elif hasattr(output, key):
            return getattr(output, key)
    return None


def batch_size_of(inputs: Any) -> int:
    """Number of samples in a tensor ``[B, ...]`` or in a mapping of such tensors."""
    tensor = next(v for v in inputs.values() if isinstance(v, Tensor)) if isinstance(inputs, Mapping) else inputs
    return int(tensor.shape[0])


def describe(value: Any) -> str:
    """A value's type and, where it has one, its shape or keys: for error messages.

    Example:
        >>> import torch
        >>> describe((torch.zeros(2, 3), 1))
        'tuple(Tensor[2, 3], int)'
    """
    if isinstance(value, Tensor):
        return f"Tensor{list(value.shape)}"
    if isinstance(value, Mapping):
        return f"{type(value).__name__} with keys {sorted(map(str, value))}"
    if isinstance(value, (tuple, list)):
        return f"{type(value).__name__}({', '.join(describe(v) for v in value[:4])}{', ...' if len(value) > 4 else ''})"
    return type(value).__name__
