"""Every network's answers on the test split, kept in the run folder so that a report can be made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lightning_distill.files import follow_umask, replacing
from lightning_distill.report.folder import ROLES, RunFolder


@dataclass(frozen=True)
class Predictions:
    """One network's answers.

    Attributes:
        logits: ``[N, C]``, float32.
        target: ``[N]`` class indices.
        sample_ids: ``[N]``, or ``None`` where the batches held none.
    """

    logits: Tensor
    target: Tensor
    sample_ids: Tensor | None = None


def save_predictions(found: Mapping[str, Tensor], path: Path) -> None:
    """Write what :class:`~lightning_distill.callbacks.TestOutputs` found, if anything; whole or not at all."""
    if not found:
        return
    with replacing(path) as part:
        save_file({name: values.contiguous() for name, values in found.items()}, part)
        follow_umask(part)


def read_predictions(folder: RunFolder) -> dict[str, Predictions]:
    """The answers of every role, row by row about the same samples; of those that are not, the student's alone."""
    found: dict[str, Predictions] = {}
    for role in reversed(ROLES):  # the student is what all others are compared with
        path = folder.predictions(role)
        read = _read(path) if path.exists() else None
        if read is not None and all(_same_samples(read, other) for other in found.values()):
            found[role] = read
    return {role: found[role] for role in ROLES if role in found}


def _read(path: Path) -> Predictions | None:
    try:
        return Predictions(**load_file(path))
    except (SafetensorError, OSError, TypeError):  # damaged, or not what a run writes: nothing to show
        return None


def _same_samples(first: Predictions, second: Predictions) -> bool:
    if first.logits.shape != second.logits.shape or not first.target.equal(second.target):
        return False
    if first.sample_ids is None or second.sample_ids is None:
        return True
    return first.sample_ids.equal(second.sample_ids)
