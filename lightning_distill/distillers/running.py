"""How a distiller's student runs: in which order of memory, and whether compiled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from lightning_distill.checks import check_choice
from lightning_distill.engine import pl
from lightning_distill.memory_format import MEMORY_FORMATS, lay_out, runs_channels_last
from lightning_distill.teachers.frozen import FrozenTeacher
from lightning_distill.teachers.holder import TeacherHolder

# Strategies that take a weight for contiguous: they shard it, or send it as bytes.
CONTIGUOUS = (pl.strategies.ModelParallelStrategy, pl.strategies.DeepSpeedStrategy)


class RunsStudent(TeacherHolder):
    """The part of a distiller that makes its student fast without changing its name, keys or values."""

    def set_running(self, *, memory_format: str, compile: bool | Mapping[str, Any]) -> None:
        """Take over what a distiller was given.

        Raises:
            ValueError: If an argument is none of what it may be.
        """
        check_choice("memory_format", memory_format, MEMORY_FORMATS)
        if not isinstance(compile, (bool, Mapping)):
            raise ValueError(
                f"Expected `compile` to be true, false or a mapping of torch.compile's arguments, but got {compile!r}."
            )
        self._memory_format = memory_format
        self._compile = compile
        self._channels_last = False

    @property
    def applied(self) -> dict[str, str]:
        """What was done to be faster, as plain values: ``student/memory_format``, ``teacher/fold_batchnorm`` ..."""
        compiles = self._compile is not False
        own = {
            "student/memory_format": "channels_last" if self._channels_last else "preserve",
            "student/compile": "on" if compiles else "off",
        }
        teacher = {} if self.teacher is None else self.teacher.applied
        return own | {f"teacher/{name}": value for name, value in teacher.items()}

    def setup(self, stage: str) -> None:
        super().setup(stage)
        # Before the strategy wraps it and the optimizer holds it. The convolutions' weights alone decide: their inputs
        # follow. A teacher that is tested as a student stays as it is.
        # The Trainer casts later than this.
        exact = self._memory_format == "auto" and str(getattr(self._trainer, "precision", "")).startswith("64")
        shards = self._trainer is not None and isinstance(self._trainer.strategy, CONTIGUOUS)
        self._channels_last = not (exact or shards) and runs_channels_last(self.student, self._memory_format)
        if self._channels_last and not isinstance(self.student, FrozenTeacher):
            lay_out(self.student, torch.channels_last)

    def teardown(self, stage: str) -> None:
        """Lay the student out as usual: what it becomes next, a teacher or a file, does not depend on this run."""
        super().teardown(stage)
        if self._channels_last and not isinstance(self.student, FrozenTeacher):
            lay_out(self.student, torch.contiguous_format)

    def on_fit_start(self) -> None:
        super().on_fit_start()
        if self._compile is not False:
            # In place: a wrapper would put its name before every key of a checkpoint.
            self.student.compile(**(self._compile if isinstance(self._compile, Mapping) else {}))

    def on_fit_end(self) -> None:
        super().on_fit_end()
        if self._compile is not False:
            self.student._compiled_call_impl = None  # what is exported and shared afterwards is a plain network
