"""Teachers: networks that answer and never learn."""

from lightning_distill.teachers.cached import CachedTeacher
from lightning_distill.teachers.frozen import FrozenTeacher
from lightning_distill.teachers.remember import remember

__all__ = ["CachedTeacher", "FrozenTeacher", "remember"]
