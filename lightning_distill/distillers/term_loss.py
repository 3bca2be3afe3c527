"""Make a term's loss: a module, a plain function, or a class that still lacks what only the networks can tell."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from torch import Size, Tensor, nn

import lightning_distill.losses as losses
from lightning_distill.distillers.needs import NEEDS, POSITIONAL, loss_needs
from lightning_distill.losses import __all__ as LOSS_NAMES

# Constructor arguments of a loss that are filled in from the dry run and the term.
FILLED = ("student_channels", "teacher_channels", "student_sizes", "teacher_sizes", "teacher_head", "dataset_size")


class Needs(NamedTuple):
    """What a loss asks for beside the pair, and which of it has a default to fall back on."""

    names: frozenset[str]
    optional: frozenset[str]

    def present(self, given: Mapping[str, Any]) -> frozenset[str]:
        """The names to pass: an optional one that the batch does not hold is left to its default."""
        return frozenset(name for name in self.names if given.get(name) is not None or name not in self.optional)


def needs_of(loss: nn.Module) -> Needs:
    """What the ``forward`` of ``loss`` declares after its first two arguments.

    Raises:
        ValueError: If it requires something that no distiller can give.

    Example:
        >>> needs_of(FunctionLoss(lambda student, teacher, *, target, mask=None: None)).optional
        frozenset({'mask'})
    """
    function = loss.function if isinstance(loss, FunctionLoss) else loss.forward
    parameters = [
        parameter
        for parameter in list(inspect.signature(function).parameters.values())[POSITIONAL:]
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    names = loss_needs(function)
    required = frozenset(parameter.name for parameter in parameters if parameter.default is parameter.empty)
    if required - names:
        raise ValueError(
            f"Expected `loss` to need nothing beside the pair but {', '.join(NEEDS)}, but {type(loss).__name__} "
            f"requires {', '.join(f'`{name}`' for name in sorted(required - names))}. Give it a default."
        )
    return Needs(names, names - required)


class FunctionLoss(nn.Module):
    """A plain function ``(student, teacher, ...) -> scalar`` as a module."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, student: Any, teacher: Any, **needs: Any) -> Tensor:
        return self.function(student, teacher, **needs)

    def extra_repr(self) -> str:
        return repr(self.function)


def make_loss(loss: Any, known: Mapping[str, Any]) -> nn.Module:
    """The module for a term's ``loss``.

    Args:
        loss: A module, a function of ``(student, teacher)``, or a factory: a loss class, or a ``functools.partial`` of
            one. A factory is called with those of its arguments that are in ``known``, and that are either required or
            have the default ``None``; what the partial binds stays.
        known: Values for :data:`FILLED`; ``None`` where there is none.

    Raises:
        TypeError: If ``loss`` is none of these, or the factory returns something else than a module.
        ValueError: If a required argument of the factory has no value.

    Example:
        >>> make_loss(nn.MSELoss, {}), make_loss(partial(nn.L1Loss, reduction="sum"), {}).reduction
        (MSELoss(), 'sum')
    """
    if isinstance(loss, nn.Module):
        return loss
    if not callable(loss):
        raise TypeError(f"Expected `loss` to be a module, a loss class or a function, but got {type(loss).__name__}.")
    if not isinstance(_innermost(loss), type):
        return FunctionLoss(loss)
    module = loss(**_missing_arguments(loss, known))
    if not isinstance(module, nn.Module):
        raise TypeError(f"Expected `loss` to build an nn.Module, but got {type(module).__name__}.")
    return module


def _missing_arguments(factory: Callable[..., Any], known: Mapping[str, Any]) -> dict[str, Any]:
    bound = factory.keywords if isinstance(factory, partial) else {}
    filled, missing = {}, []
    for name, parameter in inspect.signature(factory).parameters.items():
        variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if name in bound or variadic or parameter.default not in (parameter.empty, None):
            continue
        if known.get(name) is not None:
            filled[name] = known[name]
        elif parameter.default is parameter.empty:
            missing.append(name)
    if missing:
        raise ValueError(
            f"Expected `loss` ({_innermost(factory).__name__}) to be complete, but it lacks "
            f"{', '.join(f'`{name}`' for name in missing)}. {_way_out(missing[0])}"
        )
    return filled


def _way_out(argument: str) -> str:
    if argument == "teacher_head":
        return "Name the teacher's classifier: Term(..., teacher_head='fc')."
    if argument == "dataset_size":
        return "Give the number of training samples: Term(..., dataset_size=50000)."
    return f"Bind it: functools.partial(<loss>, {argument}=...)."


def _innermost(factory: Any) -> Any:
    return factory.func if isinstance(factory, partial) else factory


def channels_of(shape: Size) -> int:
    """Channels of a feature: the last dimension of ``[B, D]`` and ``[B, N, D]``, dimension 1 of maps.

    Example:
        >>> channels_of(Size([2, 197, 192])), channels_of(Size([2, 64, 7, 7]))
        (192, 64)
    """
    return int(shape[-1] if len(shape) <= 3 else shape[1])


def size_of(shape: Size) -> tuple[int, ...]:
    """What is neither batch nor channels: ``(H, W)`` of maps, ``(N,)`` of tokens, ``()`` of embeddings.

    Example:
        >>> size_of(Size([2, 197, 192])), size_of(Size([2, 64, 7, 5]))
        ((197,), (7, 5))
    """
    return tuple(shape[1:-1] if len(shape) <= 3 else shape[2:])


def refuses_soft_targets(loss: nn.Module) -> bool:
    """Whether ``loss`` reads labels as class indices: the losses of this package do, unless they say otherwise.

    A loss that takes probabilities as well has an attribute ``accepts_soft_targets = True``. A loss from elsewhere is
    left to judge for itself.
    """
    return is_own(loss) and not getattr(loss, "accepts_soft_targets", False)


def is_own(loss: nn.Module) -> bool:
    """Whether ``loss`` is one of this package's."""
    return type(loss).__module__.startswith(losses.__name__)


def losses_for_soft_targets() -> list[str]:
    """Names of this package's losses that take mixed batches: they need no labels, or accept probabilities.

    Example:
        >>> "KLDistillationLoss" in losses_for_soft_targets()
        True
    """
    classes = [getattr(losses, name) for name in LOSS_NAMES]
    modules = [found for found in classes if isinstance(found, type) and issubclass(found, nn.Module)]
    return [
        found.__name__
        for found in modules
        if "target" not in inspect.signature(found.forward).parameters or getattr(found, "accepts_soft_targets", False)
    ]
