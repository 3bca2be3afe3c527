"""Write a distiller's student to files, and read it back."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any

from torch import nn

from lightning_distill import export, weights
from lightning_distill.teachers.frozen import FrozenTeacher
from lightning_distill.teachers.holder import TeacherHolder

# Of checkpoints; raised when an older package could no longer read what a newer one writes.
FORMAT_VERSION = 1


class ShipsStudent(TeacherHolder):
    """The part of a distiller that saves: the student alone, never the teacher or what training put around it."""

    @abstractmethod
    def deployable(self) -> nn.Module:
        """The student as it is shipped: from inputs to one tensor of logits. It shares the student's weights."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["format_version"] = FORMAT_VERSION

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        version = checkpoint.get("format_version", FORMAT_VERSION)
        if not isinstance(version, int) or version > FORMAT_VERSION:
            raise ValueError(
                f"Expected a checkpoint of format_version {FORMAT_VERSION} or below, but got {version!r}: a newer "
                "lightning-distill wrote it. Update the package."
            )

    @property
    def example(self) -> Any:
        """The distiller's example input, or the data module's, or ``None``."""
        if self.example_input is not None:
            return self.example_input
        return getattr(getattr(self._trainer, "datamodule", None), "example_input", None)

    def save_weights(self, path: str | Path) -> Path:
        """Write the student's weights, under its own names, as safetensors; an existing file is replaced whole."""
        weights.save_weights(self._plain_student(), path)
        return Path(path)

    def load_weights(self, path: str | Path) -> None:
        """Read the student's weights; every name and shape must fit.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it cannot be read, or does not fit the student, which is unchanged then.
        """
        weights.load_weights(self._plain_student(), path, role="student")

    def save(self, path: str | Path, example_input: Any = None) -> Path:
        """Write the student as it is shipped, by suffix.

        Args:
            path: ``.safetensors`` (the student's weights), ``.pt2`` (``torch.export``) or ``.onnx``; the last two hold
                :meth:`deployable`, take any batch size, and are checked against it before they are put in place.
            example_input: For ``.pt2`` and ``.onnx``: a small batch; the distiller's or the data module's if not given.

        Returns:
            The path.

        Raises:
            ValueError: If the suffix is another, an example is missing, or the file does not compute what the student
                computes.
        """
        if Path(path).suffix == ".safetensors":
            return self.save_weights(path)
        return export.save(self.deployable(), path, self.example if example_input is None else example_input)

    def _plain_student(self) -> nn.Module:
        """The student itself where ``torch.compile`` or, for a test, :class:`FrozenTeacher` has wrapped it."""
        student: nn.Module = getattr(self.student, "_orig_mod", self.student)
        return student.model if isinstance(student, FrozenTeacher) else student
