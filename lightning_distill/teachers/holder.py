"""How a module holds its teacher."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from lightning_distill.engine import pl
from lightning_distill.teachers.frozen import FrozenTeacher
from lightning_distill.teachers.slot import TeacherSlot, as_teacher


class HoldsTeacher(nn.Module):
    """A module with a ``student``, and a ``teacher`` that is outside of its module registry.

    The teacher follows ``.to()`` and ``.double()``, because ``_apply``, through which all of them go, is passed on to
    it. Copies share the teacher without moving it.
    """

    student: nn.Module
    _slot: TeacherSlot

    @property
    def teacher(self) -> FrozenTeacher | None:
        """The frozen teacher; ``teacher.model`` is the original network. Assign a network to replace it."""
        return self._slot.teacher

    @teacher.setter
    def teacher(self, teacher: nn.Module | None) -> None:
        self._slot = TeacherSlot(as_teacher(teacher, self.student))

    def __setattr__(self, name: str, value: Any) -> None:
        # nn.Module would register any module that is assigned, ahead of the property.
        if name == "teacher":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        module = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self._slot.owned and self._slot.teacher is not None:
            self._slot.teacher._apply(fn, recurse)
        return module


class TeacherHolder(HoldsTeacher, pl.LightningModule):
    """The same as a LightningModule: the teacher also follows precision plugins and the Trainer's device.

    A copy that is attached to a Trainer adopts the teacher.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_current_fx_name":
            # A string that Lightning sets about 45 times a step: past nn.Module's slow search for modules and the like.
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def setup(self, stage: str) -> None:
        """Adopt the teacher: from here on it goes where this module goes."""
        self._slot.owned = True

    def _place_teacher(self) -> None:
        """Bring the teacher to the strategy's device: FSDP and its kin shard the module without moving it."""
        device = self.trainer.strategy.root_device
        teacher = self._slot.teacher
        if teacher is not None and any(p.device != device for p in teacher.parameters()):
            teacher.to(device)

    def on_fit_start(self) -> None:
        self._place_teacher()

    def on_validation_start(self) -> None:
        self._place_teacher()

    def on_test_start(self) -> None:
        self._place_teacher()
