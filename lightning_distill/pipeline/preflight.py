"""Everything that can be found out before the first stage trains."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from torch import nn

from lightning_distill.callbacks import BestAndLast, NonFinite
from lightning_distill.distillers import BaseDistiller
from lightning_distill.distillers.sharding import check_shards
from lightning_distill.pipeline.cache import check_cache
from lightning_distill.pipeline.plan import Plan, TeacherPlan
from lightning_distill.pipeline.stage import Stage
from lightning_distill.pipeline.teacher import cache_file, make_teacher
from lightning_distill.report.console import is_main_process
from lightning_distill.report.folder import RunFolder
from lightning_distill.sharded import check_shards as check_shards_in
from lightning_distill.sharded import read_folder
from lightning_distill.teachers import FrozenTeacher
from lightning_distill.weights import misfits, not_finite, read_weights


def preflight(plan: Plan) -> None:
    """Build every part once and throw it away, so that a mistake shows now and not after hours.

    Raises:
        FileExistsError: If the folder holds another run.
        FileNotFoundError: If a checkpoint is missing.
        ValueError: If parts do not fit each other.
    """
    if is_main_process():  # the others start when it has claimed the folder
        check_folder(plan.folder, plan.resumes)
    teacher = None if plan.teacher is None else check_teacher(plan.teacher)
    stage = Stage("student", plan.stage, plan.folder)
    with accepts("student"):
        distiller = stage.make(plan.student, teacher)
    distiller.terms.check_dataset_size(getattr(plan.stage.data, "dataset_size", 0))
    check_optimizer("the student", distiller)
    if teacher is not None and plan.teacher is not None and plan.teacher.cache is not None:
        check_cache(plan, plan.teacher.cache, distiller)
    if plan.ckpt_path is not None:
        check_checkpoint(plan.ckpt_path, distiller)
    if teacher is not None and plan.baseline:
        check_optimizer("the baseline", stage.make(plan.student, None))
    trainer = plan.stage.trainer(
        "student", [NonFinite(**plan.stage.nonfinite), BestAndLast(plan.folder.path, **plan.stage.checkpoints)]
    )
    check_shards(distiller, trainer)


def check_teacher(plan: TeacherPlan) -> FrozenTeacher:
    """The teacher as it is asked, not trained yet, after everything about it was tried."""
    check_writable(cache_file(plan))
    model = make_teacher(plan)
    with accepts("teacher"):
        if plan.train and plan.checkpoint is None:
            distiller = plan.stage.distiller(model, None)
            check_optimizer("the teacher", distiller)
            check_shards(distiller, plan.stage.trainer("teacher", []))
        teacher = plan.frozen(model)
        plan.stage.distiller(teacher, None)
    return teacher


@contextmanager
def accepts(role: str) -> Iterator[None]:
    """Say whose fault it is when a network cannot be run on the data's example."""
    try:
        yield
    except RuntimeError as error:
        raise ValueError(f"Expected the {role} to accept the data's `example_input`, but it raised: {error}") from error


def check_folder(folder: RunFolder, resumes: bool) -> None:
    """Raise if a new run would overwrite another, or there is nothing to resume."""
    if resumes and not folder.config.exists():
        raise FileNotFoundError(f"Expected `resume` to name the folder of a run, but {folder.path} has no config.yaml.")
    if not resumes and folder.config.exists():
        raise FileExistsError(
            f"Expected an empty folder for this run, but {folder.path} holds another one. Continue that one with "
            f"resume={folder.path}, or choose another folder."
        )


def check_writable(file: Path | None) -> None:
    """Raise if a trained teacher could not be kept."""
    if file is None:
        return
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
    if not file.parent.is_dir() or not os.access(file.parent, os.W_OK):
        raise PermissionError(
            f"Expected `teacher.cache_dir` to be a folder that can be written to, but got {file.parent}. Choose "
            "another, or keep no teachers: teacher.cache_dir=null"
        )


def check_optimizer(whose: str, distiller: BaseDistiller) -> None:
    """Build the optimizer and the scheduler once, unless a subclass has its own way, which may need a Trainer."""
    if type(distiller).configure_optimizers is BaseDistiller.configure_optimizers:
        settings = getattr(distiller.optimizer_factory, "keywords", {})
        shown = f" The optimizer's are {', '.join(f'{name}={value!r}' for name, value in settings.items())}."
        try:
            made = distiller.configure_optimizers()
            _try(made)
        except Exception as error:  # whatever a value makes torch raise
            reason = str(error).rstrip(".")
            raise ValueError(
                f"Could not build the optimizer or the scheduler of {whose}: {reason}.{shown if settings else ''}"
            ) from error


def _try(made: Any) -> None:
    """A step without gradients, which some values pass until then; the objects are thrown away."""
    optimizer = made["optimizer"] if isinstance(made, dict) else made
    rates = [group["lr"] for group in optimizer.param_groups]
    if not all(math.isfinite(rate) for rate in rates):
        raise ValueError(f"Expected `lr` to be a finite number, but got {rates[0]}")
    scheduler: Any = made.get("lr_scheduler") if isinstance(made, dict) else None
    if type(scheduler).__module__ == "torch.optim.lr_scheduler":
        optimizer.step()
        scheduler.step()


def check_checkpoint(path: Path, distiller: nn.Module) -> None:
    """Raise unless ``path`` is a checkpoint from which this distiller's training can go on."""
    if path.is_dir():
        check_shards_in(path)
    weights = read_folder(path) if path.is_dir() else read_weights(path)
    if path.suffix == ".safetensors":
        raise ValueError(
            f"Expected `ckpt_path` to be a Lightning checkpoint, which also holds the optimizer, but got {path}. "
            "Weights alone cannot be resumed from; the checkpoints of a run are in its folder, in checkpoints/student/."
        )
    problems = misfits(weights, distiller.state_dict())
    if problems:
        raise ValueError(
            f"Expected the checkpoint {path} to fit the student, but {'; '.join(problems)}. Use the config that it was "
            "made with: resume=<its run folder>"
        )
    spoilt = not_finite(weights, [name for name, _ in distiller.named_parameters()])
    if spoilt:
        raise ValueError(
            f"Expected the weights in {path} to be finite, but {spoilt[0]} holds NaN or infinity: training cannot go "
            "on from it. Take an earlier checkpoint, such as best.ckpt beside it."
        )
