"""Between teacher and student: the teacher's answers to the training samples, stored once and looked up."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lightning_distill.distillers import BaseDistiller
from lightning_distill.engine import pl
from lightning_distill.pipeline.data_facts import example_of
from lightning_distill.pipeline.plan import CachePlan, Plan
from lightning_distill.pipeline.stage import Stage
from lightning_distill.report.console import say
from lightning_distill.report.folder import Scalar
from lightning_distill.report.table import file_size
from lightning_distill.teachers import CachedTeacher, FrozenTeacher, remember
from lightning_distill.teachers.fingerprint import identity_of
from lightning_distill.teachers.store import Identity, TeacherStore
from lightning_distill.teachers.views import Views, varies
from lightning_distill.types import as_logits


def cached_teacher(plan: Plan, live: FrozenTeacher) -> tuple[CachedTeacher, dict[str, Scalar]]:
    """A teacher that looks up what ``live`` says about the training samples, and what that took.

    A store that belongs to this very teacher, data and transforms is used, one that was begun is completed, and any
    other change leads to another store.

    Args:
        plan: With ``plan.teacher.cache``.
        live: The trained teacher.
    """
    assert plan.teacher is not None
    cache = plan.teacher.cache
    assert cache is not None
    start, trainer = time.perf_counter(), plan.stage.trainer("student", [])
    view, epochs = entries(cache, plan.stage.data, trainer)
    # What the terms read of the teacher has to be stored as well.
    features = Stage("student", plan.stage, plan.folder).make(plan.student, live).terms.teacher_paths
    identity = identity_of(live, plan.stage.data, view)
    folder = store_folder(cache, identity, epochs, features)
    try:
        store = TeacherStore(folder, identity)
        say(f"teacher: its answers were stored before, {file_size(store.nbytes)} in {folder}")
    except (FileNotFoundError, ValueError):
        many = "one entry" if epochs == 1 else f"{epochs} entries"
        say(f"teacher: storing its answers, {many} of each training sample")
        store = remember(
            live,
            plan.stage.data,
            folder,
            view=view,
            epochs=epochs,
            encoding=cache.encoding,
            features=features,
            device=trainer.strategy.root_device,
            progress=trainer.progress_bar_callback is not None,
        )
        say(f"teacher: {file_size(store.nbytes)} of answers in {folder}")
    numbers: dict[str, Scalar] = {"cache_seconds": time.perf_counter() - start, "cache_bytes": store.nbytes}
    return CachedTeacher(live, store), numbers


def store_folder(cache: CachePlan, identity: Identity, epochs: int, features: Sequence[str]) -> Path:
    """Where this very store is, whether or not it is there yet."""
    parts = {"identity": asdict(identity), "epochs": epochs, "encoding": cache.encoding.plain(), "also": list(features)}
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return cache.folder / f"answers-{key[:16]}"


def entries(cache: CachePlan, data: pl.LightningDataModule, trainer: pl.Trainer) -> tuple[str, int]:
    """The view that is stored, and entries of each sample: one of the clean view where no epoch looks different.

    Raises:
        ValueError: If the entries would not last for the student's training.
    """
    if cache.view == "clean" or not varies(data):
        return "clean", 1
    needed = epochs_of(trainer, data)
    if needed is None and cache.epochs is None:
        raise ValueError(
            "Expected `teacher.cache.epochs`, since the length of the student's training is not known, but got null. "
            "Set it, or `trainer.max_epochs`."
        )
    if needed is not None and cache.epochs is not None and cache.epochs < needed:
        raise ValueError(
            f"Expected `teacher.cache.epochs` to be at least {needed}, the epochs of the student's training, each of "
            f"which shows other views, but got {cache.epochs}. Leave it at null, train for {cache.epochs} epochs, or "
            "let the teacher see the images as they are: teacher.cache.view=clean"
        )
    return "augmented", int(cache.epochs or needed or 1)


def epochs_of(trainer: pl.Trainer, data: pl.LightningDataModule) -> int | None:
    """Epochs that a training has at most; ``None`` if it has no end."""
    most = None if trainer.max_epochs in (None, -1) else trainer.max_epochs
    if trainer.max_steps in (None, -1):
        return most
    loader: Any = data.train_dataloader()
    limit, batches = trainer.limit_train_batches, len(loader)
    batches = min(batches, limit) if isinstance(limit, int) else int(batches * (1.0 if limit is None else limit))
    by_steps = math.ceil(trainer.max_steps * trainer.accumulate_grad_batches / max(1, batches))
    return by_steps if most is None else min(most, by_steps)


def check_cache(plan: Plan, cache: CachePlan, distiller: BaseDistiller) -> None:
    """Raise before anything is trained if answers could not be stored, or not be looked up later.

    Args:
        plan: The run.
        cache: How they are to be stored.
        distiller: The student's, with the live teacher, which is not trained yet.
    """
    data, teacher = plan.stage.data, distiller.teacher
    if teacher is None:
        return
    if distiller.mixing is not None:
        raise ValueError(
            "Expected no `distiller.mixing` with `teacher.cache`, since a stored answer belongs to one sample, but got "
            f"{distiller.mixing!r}. Leave one of the two out."
        )
    view, _ = entries(cache, data, plan.stage.trainer("student", []))
    identity_of(teacher, data, view)
    views = Views(data, view)
    first = next(views.rows(range(1), 1))
    if first.sample_ids is None:
        raise ValueError(
            f"Expected the batches of {type(data).__name__} to have `sample_ids`, by which stored answers are looked "
            "up, but they have none. Yield (inputs, target, sample_ids), or leave `teacher.cache` at null."
        )
    logits = as_logits(teacher.answer_example(example_of(data)), "teacher")
    try:
        cache.encoding.encode(logits)
    except ValueError as error:
        raise ValueError(f"Could not build `teacher.cache`: {error}") from error
    cache.folder.mkdir(parents=True, exist_ok=True)
    if not os.access(cache.folder, os.W_OK):
        raise PermissionError(
            f"Expected `teacher.cache.folder` to be a folder that can be written to, but got {cache.folder}. Choose "
            "another, or null for the run's own."
        )
