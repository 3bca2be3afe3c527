"""Teacher, baseline, student, report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from torch import nn

from lightning_distill.callbacks import StopRequested
from lightning_distill.distillers import BaseDistiller
from lightning_distill.engine import pl
from lightning_distill.files import recover, sweep
from lightning_distill.pipeline.cache import cached_teacher
from lightning_distill.pipeline.plan import Plan
from lightning_distill.pipeline.preflight import preflight
from lightning_distill.pipeline.report import report
from lightning_distill.pipeline.stage import Stage
from lightning_distill.pipeline.teacher import make_teacher, teacher_stage
from lightning_distill.report.console import is_main_process, program, say
from lightning_distill.report.folder import ROLES, RunFolder, Scalar, write_text_atomically
from lightning_distill.sharded import check_shards
from lightning_distill.teachers import FrozenTeacher
from lightning_distill.weights import read_weights


def run(plan: Plan) -> float | None:
    """Do what is planned and return the student's best ``val/accuracy``.

    Stages that the folder holds already are read back, not repeated. What a stage gives is saved when it ends, so
    nothing is lost by what comes later.

    Raises:
        ValueError: Before training starts, if something does not fit; see
            :func:`~lightning_distill.pipeline.preflight.preflight`.
        KeyboardInterrupt: On Ctrl-C, after a line that says how to go on.
        StopRequested: On SIGTERM or SIGUSR1, after a checkpoint and the same line.
    """
    # Read once: with several processes, the others start while this file grows.
    done = frozenset(plan.folder.read()) if plan.resumes else frozenset()
    _check_kept(plan.folder, done)
    if plan.teacher is not None and "teacher" in done:
        plan = replace(plan, teacher=replace(plan.teacher, checkpoint=plan.folder.weights("teacher"), submodule=None))
    preflight(plan)
    if is_main_process():
        for folder in plan.folder.folders:
            sweep(folder)  # what a killed run left half-written
    if is_main_process() and not plan.resumes:
        plan.folder.write("run", {"command": plan.command})
        write_text_atomically(plan.folder.config, plan.config)  # from here on there is a run to resume
    trained = _teacher(plan, done)
    teacher = _asked(plan, trained)
    if teacher is not None and plan.baseline:
        trained["baseline"] = _student("baseline", plan, teacher, done)
    if teacher is not None and "student" not in done:
        teacher = _answers(plan, teacher)
    trained["student"] = _student("student", plan, teacher, done)
    return report(plan, trained)


def _teacher(plan: Plan, done: frozenset[str]) -> dict[str, BaseDistiller]:
    if plan.teacher is None:
        return {}
    if "teacher" in done:
        return {"teacher": plan.teacher.stage.distiller(plan.teacher.frozen(make_teacher(plan.teacher)), None)}
    with _resumable("teacher", plan.folder):
        distiller, numbers = teacher_stage(plan.teacher, plan.folder, _last(plan, "teacher"))
    _write(plan.folder, "teacher", numbers)
    return {"teacher": distiller}


def _asked(plan: Plan, trained: dict[str, BaseDistiller]) -> FrozenTeacher | None:
    """The teacher that the student learns from."""
    if plan.teacher is None:
        return None
    network = trained["teacher"].student
    return network if isinstance(network, FrozenTeacher) else plan.teacher.frozen(network)


def _answers(plan: Plan, teacher: FrozenTeacher) -> FrozenTeacher:
    """The teacher that the student's stage asks: one that looks its answers up, where they are to be stored."""
    if plan.teacher is None or plan.teacher.cache is None:
        return teacher
    with _resumable("student", plan.folder):
        cached, numbers = cached_teacher(plan, teacher)
    _write(plan.folder, "run", numbers)
    return cached


def _student(role: str, plan: Plan, teacher: nn.Module | None, done: frozenset[str]) -> BaseDistiller:
    """The student, trained with the teacher (``"student"``) or alone (``"baseline"``)."""
    stage = Stage(role, plan.stage, plan.folder)
    distiller = stage.make(plan.student, teacher if role == "student" else None)
    if role in done:
        distiller.load_weights(plan.folder.weights(role))
        return distiller
    say(f"{role}: training {'with the teacher' if distiller.distils else 'alone'}")
    start = _last(plan, role) or (plan.ckpt_path if role == "student" else None)
    with _resumable(role, plan.folder):
        numbers = stage.fit(distiller, start)
        if role == "baseline" and teacher is not None:
            numbers |= stage.agreement(distiller, teacher)
    _write(plan.folder, role, numbers)
    if role == "student":
        _write(plan.folder, "run", {"test_samples": stage.test_samples})
    return distiller


def _last(plan: Plan, role: str) -> Path | None:
    """Where an interrupted stage goes on, if it got that far."""
    path, best = (plan.folder.checkpoints(role) / f"{name}.ckpt" for name in ("last", "best"))
    recover(path)
    if not plan.resumes or not path.exists():
        return None
    _check_whole(best, f"Delete {best.parent} to begin the stage `{role}` anew.")
    way_out = f"Copy {best} to it to go on from the best epoch, or delete" if best.exists() else "Delete"
    _check_whole(path, f"{way_out} it to begin the stage `{role}` anew.")
    return path


def _check_kept(folder: RunFolder, roles: frozenset[str]) -> None:
    """Raise if the weights of a finished stage are gone or damaged, or its answers are, which the report reads."""
    for role in roles.intersection(ROLES):
        way_out = f"Delete {folder.metrics}: the finished stages are tested again, and their weights written anew."
        _check_whole(folder.weights(role), way_out, needed=True)
        _check_whole(folder.predictions(role), way_out)


def _check_whole(path: Path, way_out: str, needed: bool = False) -> None:
    """Raise for a file of weights, or a folder of shards, that was damaged since it was written."""
    try:
        if path.is_dir() and not needed:
            check_shards(path)
        elif path.is_file() or needed:
            read_weights(path)
    except (FileNotFoundError, ValueError) as error:
        raise type(error)(f"{error} {way_out}") from None


@contextmanager
def _resumable(role: str, folder: RunFolder) -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, StopRequested):
        say(f"\nInterrupted in the stage `{role}`. Go on with: {program()} resume={folder.path}")
        raise


@pl.utilities.rank_zero_only
def _write(folder: RunFolder, role: str, numbers: dict[str, Scalar]) -> None:
    folder.write(role, numbers)
