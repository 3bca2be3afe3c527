"""What a loss asks for beside the pair of outputs, and how it is given."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from lightning_distill.checks import at_least_fp32
from lightning_distill.distillers.labels import take_rows
from lightning_distill.schedules import is_scheduled, value_at
from lightning_distill.types import describe

NEEDS = ("target", "sample_ids", "mask", "progress", "student_logits", "teacher_logits")
# A loss whose positional arguments carry these names gets them by position.
POSITIONAL = 2


def loss_needs(loss: Callable[..., Any]) -> frozenset[str]:
    """The names of :data:`NEEDS` that ``loss`` declares after its first two arguments.

    Example:
        >>> sorted(loss_needs(lambda student, teacher, *, target, progress=0.0: None))
        ['progress', 'target']
    """
    function = loss.forward if isinstance(loss, nn.Module) else loss
    parameters = list(inspect.signature(function).parameters.values())
    return frozenset(p.name for p in parameters[POSITIONAL:] if p.name in NEEDS)


def check_loss(name: str, loss: Any) -> None:
    """Raise unless ``loss`` is something to call with logits, or ``None``.

    Raises:
        TypeError: For a class, which would be made at every call, too.
    """
    if isinstance(loss, type):
        raise TypeError(
            f"Expected `{name}` to be a loss, but got the class {loss.__name__}. Make one: {loss.__name__}()"
        )
    if loss is not None and not callable(loss):
        raise TypeError(f"Expected `{name}` to be a loss, a function or a module, but got {loss!r:.80}.")


def call_loss(
    loss: Callable[..., Any],
    needs: frozenset[str],
    student: Any,
    teacher: Any,
    given: Mapping[str, Any],
    name: str = "`distillation_loss`",
    rows: Tensor | None = None,
) -> Tensor:
    """``loss(student, teacher)`` with what it needs out of ``given``.

    Args:
        loss: What to call.
        needs: What it declares beside the pair.
        student: The student's side: a tensor or a tuple of them.
        teacher: The teacher's side.
        given: Everything there is, by name.
        name: What the message calls the loss.
        rows: Which samples have a label ``[B]``; ``None`` for all. A loss that needs labels sees these alone, and is 0
            where there is none.

    Raises:
        ValueError: If something that the loss needs is not in the batch.
    """
    missing = sorted(need for need in needs if need in ("target", "sample_ids") and given.get(need) is None)
    if missing:
        raise ValueError(
            f"Expected the batch to hold `{missing[0]}`, which {name} ({type(loss).__name__}) needs, but got none. "
            f"Have the data loader yield Batch(inputs, target, sample_ids), or choose a loss that does without."
        )
    passed = {need: given[need] for need in needs if need in given}
    if rows is not None and "target" in needs:
        if not bool(rows.any()):
            return _zero(student)
        student, teacher, passed = (take_rows(part, rows) for part in (student, teacher, passed))
    result: Tensor = loss(student, teacher, **passed)
    if not isinstance(result, Tensor) or result.ndim:
        raise ValueError(
            f"Expected {name} ({type(loss).__name__}) to return a scalar, but got {describe(result)}. "
            "Take the mean over the samples: loss.mean()"
        )
    return result


def _zero(student: Any) -> Tensor:
    """A zero that depends on the student, as DDP expects of every loss."""
    first: Tensor = student if isinstance(student, Tensor) else student[0]
    return (first * 0).sum()


def lift(value: Any) -> Any:
    """A tensor lifted to float32 where it is in half precision; anything else as it is."""
    return at_least_fp32(value) if isinstance(value, Tensor) and value.is_floating_point() else value


def check_weight(name: str, weight: Any, check: Callable[[str, float], None] | None = None) -> None:
    """Raise unless ``weight`` is a number, or a schedule whose two ends are, that ``check`` accepts."""
    values = [value_at(weight, progress) for progress in (0.0, 1.0)] if is_scheduled(weight) else [weight]
    for value in values:
        if check is not None:
            check(name, value)
        elif isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
            raise ValueError(f"Expected `{name}` to be a number of at least 0 or a schedule, but got {value!r}.")


def check_factory(name: str, factory: Any, what: str, example: str) -> None:
    """Raise unless ``factory`` is ``None`` or can be called."""
    if factory is not None and not callable(factory):
        raise TypeError(f"Expected `{name}` to be a factory, {what}, but got {type(factory).__name__}. Pass {example}.")
