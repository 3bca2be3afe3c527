"""Where a distiller keeps its teacher: outside the module registry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from lightning_distill.teachers.frozen import FrozenTeacher


@dataclass
class TeacherSlot:
    """A teacher, and whether this holder may move it between devices and precisions.

    A registered teacher would be saved, averaged, wrapped by DDP and counted with the student; this holder is not a
    module, so nothing walks into it. A copy of the holder shares the teacher without owning it: moving an averaged
    copy of a student must not move the teacher of the one that trains.
    """

    teacher: FrozenTeacher | None = None
    owned: bool = True

    def __deepcopy__(self, memo: dict[int, Any]) -> TeacherSlot:
        return TeacherSlot(self.teacher, owned=False)

    def __getstate__(self) -> dict[str, Any]:
        return {"teacher": self.teacher, "owned": False}


def as_teacher(teacher: nn.Module | None, student: nn.Module) -> FrozenTeacher | None:
    """Wrap a plain network as a :class:`FrozenTeacher`, and make sure that it is not (part of) the student.

    Raises:
        TypeError: If ``teacher`` is neither a module nor ``None``.
        ValueError: If teacher and student share parameters: freezing one would freeze the other.
    """
    if teacher is None:
        return None
    if not isinstance(teacher, nn.Module):
        raise TypeError(f"Expected `teacher` to be an nn.Module or None, but got {type(teacher).__name__}.")
    network = teacher.model if isinstance(teacher, FrozenTeacher) else teacher
    own = {id(p): name for name, p in student.named_parameters()}
    shared = [own[id(p)] for p in network.parameters() if id(p) in own]
    if shared:
        raise ValueError(
            f"Expected `teacher` and `student` to have no parameters in common, but got {len(shared)} shared ones "
            f"({', '.join(shared[:3])}, ...). Pass `copy.deepcopy(...)` of the network as one of the two."
        )
    return teacher if isinstance(teacher, FrozenTeacher) else FrozenTeacher(teacher)
