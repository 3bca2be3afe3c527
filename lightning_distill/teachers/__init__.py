"""Teachers: networks that answer and never learn."""

from lightning_distill.teachers.frozen import FrozenTeacher

__all__ = ["FrozenTeacher"]
