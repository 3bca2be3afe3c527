"""Find out before training starts that two networks do not fit each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


def check_class_counts(student_logits: Tensor, teacher_logits: Tensor, loss: Callable[..., Any]) -> None:
    """Raise if the two differ in shape and ``loss`` compares them class by class.

    A loss from elsewhere may well compare different shapes; it is left to say so itself.

    Raises:
        ValueError: If they differ.
    """
    module = type(loss).__module__ if isinstance(loss, nn.Module) else getattr(loss, "__module__", "")
    if student_logits.shape == teacher_logits.shape or not module.startswith("lightning_distill.losses"):
        return
    student_shape, teacher_shape = list(student_logits.shape), list(teacher_logits.shape)
    if student_shape[:1] + student_shape[2:] == teacher_shape[:1] + teacher_shape[2:]:
        what = f"the same number of classes, but got {teacher_shape[1]} and {student_shape[1]}"
    else:
        what = f"outputs of the same shape, but got {teacher_shape} and {student_shape} for one example"
    raise ValueError(
        f"Expected `teacher` and `student` to have {what}. Give the student as many outputs as the teacher, or say "
        "which of the teacher's classes are the student's: FrozenTeacher(network, class_map=[...]), or "
        "teacher.class_map=[...] in a config."
    )
