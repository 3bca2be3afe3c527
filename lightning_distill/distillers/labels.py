"""Samples without a label: the target -100, cross-entropy's own ``ignore_index``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_distill.distillers.output_kind import as_target

UNLABELLED = -100


def student_loss(loss: Callable[..., Tensor], logits: Tensor, target: Tensor) -> Tensor:
    """``loss(logits, target)``, where a mean cross-entropy is the mean over what is labelled: 0 if nothing is.

    torch's own gives NaN for a batch without any label, and divides by all rows where labels are probabilities. With
    rows of probabilities, a sample that is labelled in part, as mixing with an unlabelled one makes it, counts in part.

    Args:
        loss: Any student loss.
        logits: ``[B, C, ...]``.
        target: Class indices ``[B, ...]``, or probabilities shaped as the logits.

    Example:
        >>> logits = torch.eye(2)
        >>> student_loss(nn.CrossEntropyLoss(), logits, torch.tensor([0, -100]))
        tensor(0.3133)
        >>> student_loss(nn.CrossEntropyLoss(), logits, torch.tensor([-100, -100]))
        tensor(0.)

    Raises:
        ValueError: If cross-entropy cannot take these labels; their range is looked at on a CPU only.
    """
    try:
        return _student_loss(loss, logits, target)
    except (IndexError, RuntimeError) as error:
        misfit = _misfit(logits, target, loss.ignore_index) if isinstance(loss, nn.CrossEntropyLoss) else ""
        if misfit:
            raise ValueError(misfit) from error
        raise


def _misfit(logits: Tensor, target: Tensor, ignored: int) -> str:
    """What is wrong with labels that cross-entropy has refused; empty if it was something else."""
    classes, shape = logits.shape[1], [logits.shape[0], *logits.shape[2:]]
    wanted = f"class indices of shape {shape} from 0 to {classes - 1}, as torch.int64"
    got = f"Expected `target` to hold {wanted}, but got {target.dtype} of shape {list(target.shape)}"
    if target.shape == logits.shape and not target.is_floating_point():
        return f"{got}. For one number per class: target.float(), or target.argmax(dim=1)"
    if target.dtype not in (torch.int64, torch.uint8) and target.shape != logits.shape:
        return f"{got}. Convert them: target.long()"
    if list(target.shape) not in (shape, list(logits.shape)):
        return f"{got}. Take away what is too much: target.squeeze(1)"
    if target.device.type == "cpu" and not target.is_floating_point():
        bad = target[((target < 0) | (target >= classes)) & (target != ignored)]
        if len(bad):
            found = sorted(set(bad.tolist()))[:5]
            return (
                f"Expected `target` to hold {wanted} ({ignored} for none), but got {', '.join(map(str, found))}. Give "
                "the networks as many outputs as there are classes, or count the classes from 0."
            )
    return ""


def _student_loss(loss: Callable[..., Tensor], logits: Tensor, target: Tensor) -> Tensor:
    if type(loss) is not nn.CrossEntropyLoss or loss.reduction != "mean":
        return loss(logits, as_target(loss, target, logits))
    # A module in half precision has its class weights in it, too; the logits have been lifted.
    class_weights = None if loss.weight is None else loss.weight.to(logits.dtype)
    total = F.cross_entropy(logits, target, class_weights, None, loss.ignore_index, None, "sum", loss.label_smoothing)
    if target.is_floating_point():
        mass = target.sum()
        return total / mass.clamp(min=torch.finfo(mass.dtype).tiny)
    labelled = target != loss.ignore_index
    if class_weights is None:
        return total / labelled.sum().clamp(min=1)
    weights = class_weights[torch.where(labelled, target, 0)] * labelled
    return total / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)


def labelled_count(target: Tensor | None, size: int) -> Tensor | int:
    """How many labels a batch holds, without waiting for the device; ``size`` where every sample has one."""
    if target is None or target.is_floating_point():
        return size
    return (target != UNLABELLED).sum()


def labelled_rows(target: Tensor | None) -> Tensor | None:
    """Which samples have a label ``[B]``, or ``None`` if all have, or the labels are no class index per sample.

    It reads ``target``: on a GPU it waits for the device.

    Example:
        >>> labelled_rows(torch.tensor([1, -100])), labelled_rows(torch.tensor([1, 0]))
        (tensor([ True, False]), None)
    """
    if target is None or target.ndim != 1 or target.is_floating_point():
        return None
    rows = target != UNLABELLED
    return None if bool(rows.all()) else rows


def take_rows(value: Any, rows: Tensor) -> Any:
    """The chosen samples of a tensor ``[B, ...]``, of every tensor in a tuple or a mapping; others as they are."""
    if isinstance(value, Tensor):
        return value[rows] if value.ndim and value.shape[0] == len(rows) else value
    if isinstance(value, (tuple, list)):
        return type(value)(take_rows(v, rows) for v in value)
    if isinstance(value, Mapping):
        return {name: take_rows(v, rows) for name, v in value.items()}
    return value
