"""Start a student from layers of its teacher, as DistilBERT does (https://arxiv.org/abs/1910.01108)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from lightning_distill.taps import find_module
from lightning_distill.types import describe

Pairs = Mapping[str, str] | Sequence[tuple[str, str]] | Sequence[Sequence[str]]


def init_from_teacher(student: nn.Module, teacher: nn.Module, pairs: Pairs) -> None:
    """Copy parameters and buffers of chosen modules of ``teacher`` into modules of ``student``.

    Args:
        student: It is unchanged if anything does not fit.
        teacher: It stays as it is, and shares nothing with the student.
        pairs: ``{student path: teacher path}``, or a sequence of such pairs. Modules of a pair have the same names and
            shapes of weights below them.

    Raises:
        TypeError: If ``pairs`` is neither.
        ValueError: If a path does not exist, or the weights of a pair do not fit; the message names both.

    Example:
        >>> teacher = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2))
        >>> student = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
        >>> init_from_teacher(student, teacher, {"0": "1", "1": "2"})
        >>> bool((student[0].weight == teacher[1].weight).all())
        True
    """
    chosen = []
    for student_path, teacher_path in _as_pairs(pairs):
        target = _find(student, student_path, "the student")
        weights = _find(teacher, teacher_path, "the teacher").state_dict()
        problems = _misfits(target.state_dict(), weights)
        if problems:
            raise ValueError(
                f"Expected the weights of the teacher's {teacher_path!r} to fit the student's {student_path!r}, but "
                f"they differ in {', '.join(problems[:4])}. Choose modules of the same architecture and width."
            )
        chosen.append((target, weights))
    for target, weights in chosen:
        target.load_state_dict(weights)


def _as_pairs(pairs: Pairs) -> list[tuple[str, str]]:
    items = list(pairs.items()) if isinstance(pairs, Mapping) else list(pairs) if isinstance(pairs, Sequence) else [0]
    for item in items:
        if isinstance(item, str) or not isinstance(item, Sequence) or list(map(type, item)) != [str, str]:
            raise TypeError(
                "Expected `init_from_teacher` to be {student path: teacher path}, or a list of such pairs, but got "
                f"{describe(pairs)}: {pairs!r}."
            )
    return [(item[0], item[1]) for item in items]


def _misfits(student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> list[str]:
    """What the two have of other shapes, or only one of them has."""
    shapes = [{name: str(list(tensor.shape)) for name, tensor in weights.items()} for weights in (student, teacher)]
    return [
        f"`{name}` ({shapes[0].get(name, 'none')} in the student, {shapes[1].get(name, 'none')} in the teacher)"
        for name in {**shapes[0], **shapes[1]}
        if shapes[0].get(name) != shapes[1].get(name)
    ]


def _find(network: nn.Module, path: str, whose: str) -> nn.Module:
    try:
        return find_module(network, path)
    except ValueError as error:
        raise ValueError(f"`init_from_teacher`, {whose}: {error}") from None
