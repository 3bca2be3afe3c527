"""Test a saved student as training tested it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lightning_distill.distillers import BaseDistiller, Distiller
from lightning_distill.export import read_program
from lightning_distill.pipeline.data_facts import example_of
from lightning_distill.pipeline.plan import Plan
from lightning_distill.pipeline.stage import Stage
from lightning_distill.pipeline.teacher import make_teacher
from lightning_distill.report.folder import Scalar

PROGRAMS = (".pt2", ".onnx")


class Program(nn.Module):
    """A written program as a network, to be tested like one; it stays on the CPU."""

    def __init__(self, function: Callable[[Any], Tensor]) -> None:
        super().__init__()
        # In a tuple, not registered: exported programs refuse to be switched to evaluation mode.
        self.functions = (function,)

    def forward(self, inputs: Any) -> Tensor:
        return self.functions[0](inputs)


def evaluate(plan: Plan, weights: Path) -> dict[str, Scalar]:
    """Every number of the test split, as ``metrics.json`` holds it after training.

    Args:
        plan: Of the run; its folder need not hold anything but the teacher's weights, and those only for the agreement
            with the teacher.
        weights: The student: ``.safetensors``, or a program, ``.pt2`` or ``.onnx``, which runs on the CPU.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it does not fit the student.
    """
    if not weights.is_file():
        raise FileNotFoundError(f"Expected `weights` to name a saved student, but there is no file {weights}.")
    distiller = _program(plan, weights) if weights.suffix in PROGRAMS else load_student(plan, weights)
    return Stage("student", plan.stage, plan.folder).measure(distiller)


def load_student(plan: Plan, weights: Path) -> BaseDistiller:
    """The student of a run, in its distiller, with its teacher where the folder holds its weights."""
    teacher, known = _teacher(plan)
    distiller = Stage("student", plan.stage, plan.folder).make(plan.student, teacher)
    distiller.load_weights(weights)
    if not known:
        distiller.teacher = None  # untrained: it was needed for its shape at most
    return distiller


def _program(plan: Plan, path: Path) -> BaseDistiller:
    teacher, known = _teacher(plan)
    return Distiller(
        Program(read_program(path)),
        teacher if known else None,
        example_input=example_of(plan.stage.data),
        teacher_agreement=True,
    )


def _teacher(plan: Plan) -> tuple[nn.Module | None, bool]:
    """The teacher, and whether it is the trained one."""
    if plan.teacher is None:
        return None, False
    file = plan.folder.weights("teacher")
    kept = replace(plan.teacher, checkpoint=file if file.is_file() else None, submodule=None, drop_head=False)
    return plan.teacher.frozen(make_teacher(kept)), file.is_file()
