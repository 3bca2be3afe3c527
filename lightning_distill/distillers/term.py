"""What an extra loss is in a distiller."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from lightning_distill.adapters import AdapterKind
from lightning_distill.distillers.needs import check_weight
from lightning_distill.schedules import Schedule
from lightning_distill.types import describe

RESERVED = ("loss", "student_loss", "distillation_loss", "weight")
Role = Literal["student", "teacher"]
ROLES: tuple[Role, ...] = ("student", "teacher")
Path = str | None
Paths = Path | Sequence[Path]
Adapter = AdapterKind | nn.Module


@dataclass(frozen=True)
class Term:
    """An extra loss between one or several layers of the student and of the teacher.

    Args:
        loss: ``loss(student, teacher, **needs) -> scalar``: a module, a function, or a loss class (also as a
            ``functools.partial``), whose open arguments ``student_channels``, ``teacher_channels``, ``student_sizes``,
            ``teacher_sizes``, ``teacher_head`` and ``dataset_size`` are filled in: an int (a tuple, for sizes) for one
            path, a list for several. What it needs beside the pair it declares by keyword: ``target``,
            ``sample_ids``, ``mask``, ``progress``, ``student_logits``, ``teacher_logits``.
            Every parameter of it must take part in every step, or DDP refuses to go on.
        weight: What the loss is multiplied by: a number of at least 0, or a schedule of progress.
        student: Module path, or a list of them, in the student; ``None`` for its logits. See
            :class:`~lightning_distill.taps.FeatureTaps`. For one path the loss gets a tensor, for a list a tuple.
        teacher: Likewise, in the teacher.
        adapter: How the student's features are brought to the teacher's shape: a name that
            :func:`~lightning_distill.adapters.build_adapter` knows, a module, a list with one of these for each pair,
            or ``None`` to hand the features over as they are. Its parameters are trained with the student.
        teacher_head: Module path of the teacher's classifier, for losses that use a frozen copy of it.
        dataset_size: Number of training samples, for losses that remember samples.

    Example:
        >>> from lightning_distill.schedules import LinearWarmup
        >>> Term(nn.MSELoss(), LinearWarmup(end=100.0), "layer2", "layer3", adapter="auto").weight
        LinearWarmup(start=0.0, end=100.0, warmup=0.1)
    """

    loss: nn.Module | Callable[..., Any]
    weight: float | Schedule = 1.0
    student: Paths = None
    teacher: Paths = None
    adapter: Adapter | Sequence[Adapter] | None = None
    teacher_head: str | None = None
    dataset_size: int | None = None


@dataclass(frozen=True)
class Route:
    """Which features a term compares: the paths by role, and whether the loss gets a tensor rather than a tuple."""

    paths: Mapping[Role, tuple[Path, ...]]
    single: Mapping[Role, bool]

    @classmethod
    def of(cls, term: Term) -> Route:
        """The route of ``term``.

        Example:
            >>> Route.of(Term(nn.MSELoss(), student=["layer1", "layer2"])).paths
            {'student': ('layer1', 'layer2'), 'teacher': (None,)}
        """
        given = {role: getattr(term, role) for role in ROLES}
        single = {role: paths is None or isinstance(paths, str) for role, paths in given.items()}
        return cls({role: listed(paths) for role, paths in given.items()}, single)


def check_term(name: str, term: Term) -> None:
    """Raise unless a name can be logged and registered, and the term holds what its class says."""
    if not isinstance(name, str) or not name or not set(name).isdisjoint("./") or hasattr(nn.ModuleDict, name):
        raise ValueError(
            f"Expected the name of a term to be a word without '.' and '/' that is no method of nn.ModuleDict, but got "
            f"{name!r}. Choose another name."
        )
    if name in RESERVED:
        raise ValueError(
            f"Expected the name of a term to be none of {', '.join(map(repr, RESERVED))}, which are logged by every "
            f"distiller, but got {name!r}. Choose another name."
        )
    with naming(name):
        if not isinstance(term, Term):
            raise TypeError(f"Expected a Term, but got {describe(term)}. Write Term(loss, weight=..., student=...).")
        check_weight("weight", term.weight)
        for role in ROLES:
            paths = listed(getattr(term, role))
            if not paths or not all(path is None or (isinstance(path, str) and path) for path in paths):
                raise TypeError(
                    f"Expected `{role}` to be a module path, a list of them or None for the logits, but got "
                    f"{getattr(term, role)!r}."
                )


def check_not_metrics(terms: Iterable[str], metrics: Container[str]) -> None:
    """Raise if a term would be logged under a metric's name.

    Example:
        >>> check_not_metrics(["accuracy"], {"train/accuracy"})
        Traceback (most recent call last):
        ...
        ValueError: Expected the name of a term to be no metric's, but got 'accuracy'. Choose another name.
    """
    for name in terms:
        if f"train/{name}" in metrics:
            raise ValueError(f"Expected the name of a term to be no metric's, but got {name!r}. Choose another name.")


def listed(paths: Any) -> tuple[Any, ...]:
    """One path, or all of a list, as a tuple."""
    return tuple(paths) if isinstance(paths, Sequence) and not isinstance(paths, str) else (paths,)


@contextmanager
def naming(name: str, *more: type[Exception]) -> Iterator[None]:
    """Put the term's name ahead of an error's message."""
    kinds: tuple[type[Exception], ...] = (ValueError, TypeError, IndexError, *more)
    try:
        yield
    except kinds as error:
        kind = next(kind for kind in kinds if isinstance(error, kind))
        raise kind(f"term {name!r}: {error}") from error
