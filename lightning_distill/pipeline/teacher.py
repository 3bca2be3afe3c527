"""The first stage: load the teacher, or train it once and keep it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from safetensors import SafetensorError
from torch import nn

from lightning_distill.distillers import BaseDistiller
from lightning_distill.engine import pl
from lightning_distill.pipeline.plan import TeacherPlan
from lightning_distill.pipeline.stage import Stage
from lightning_distill.report.console import is_main_process, say
from lightning_distill.report.folder import RunFolder, Scalar
from lightning_distill.weights import load_weights, read_metadata, save_weights

# Numbers of the training that a later run cannot measure again.
KEPT = ("val/accuracy", "best_epoch", "epochs", "train_seconds", "epoch_seconds")


def cache_file(plan: TeacherPlan) -> Path | None:
    """Where this very teacher is kept, whether or not it is there yet; ``None`` without a cache."""
    if plan.cache_dir is None or not plan.train or plan.checkpoint is not None:
        return None
    key = hashlib.sha256(json.dumps(plan.recipe, sort_keys=True).encode()).hexdigest()
    return plan.cache_dir / f"{key[:16]}.safetensors"


def make_teacher(plan: TeacherPlan) -> nn.Module:
    """The untrained network, or the one with the weights of ``plan.checkpoint``.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If it cannot be read or does not fit.
    """
    pl.seed_everything(plan.stage.seed, workers=True, verbose=False)
    model = plan.model()
    if plan.checkpoint is not None:
        load_weights(model, plan.checkpoint, role="teacher", submodule=plan.submodule, drop_head=plan.drop_head)
    return model


def teacher_stage(
    plan: TeacherPlan, folder: RunFolder, ckpt_path: Path | None
) -> tuple[BaseDistiller, dict[str, Scalar]]:
    """The trained teacher, as the student of its own distiller, and its numbers.

    One that is not trained here is a :class:`~lightning_distill.teachers.FrozenTeacher` already.

    Args:
        plan: The teacher: its checkpoint comes first, then the cache, then training.
        folder: Where its weights go.
        ckpt_path: A checkpoint from which its training goes on.
    """
    model = make_teacher(plan)
    stage = Stage("teacher", plan.stage, folder)
    if plan.checkpoint is not None or not plan.train:
        say("teacher: " + ("used as it was built" if plan.checkpoint is None else f"loaded from {plan.checkpoint}"))
        # As it is asked: its own input and classes count.
        distiller = plan.stage.distiller(plan.frozen(model), None)
        return distiller, stage.test(distiller)
    distiller = plan.stage.distiller(model, None)
    file = cache_file(plan)
    known = None if file is None else load_cached(distiller.student, file)
    if known is not None:
        say(f"teacher: trained before, loaded from {file}")
        return distiller, known | stage.test(distiller)
    say("teacher: training")
    numbers = stage.fit(distiller, ckpt_path)
    if file is not None and is_main_process():
        kept = {name: numbers[name] for name in KEPT if name in numbers}
        save_weights(distiller.student, file, metadata={"recipe": dict(plan.recipe), "numbers": kept})
    return distiller, numbers


def load_cached(model: nn.Module, file: Path) -> dict[str, Scalar] | None:
    """Put a kept teacher's weights into ``model``; its numbers, or ``None`` if it has to be trained."""
    if not file.exists():
        return None
    try:
        load_weights(model, file, role="teacher")
        numbers = read_metadata(file).get("numbers", {})
    except (ValueError, SafetensorError) as error:
        say(f"teacher: the kept file is damaged and will be replaced. {error}")
        return None
    return dict(numbers)
