"""What a run is made of: factories, so that every stage starts from fresh objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from lightning_distill.distillers import BaseDistiller
from lightning_distill.engine import pl
from lightning_distill.report.folder import RunFolder, Scalar
from lightning_distill.teachers import FrozenTeacher
from lightning_distill.teachers.store import Dense, Encoding


@dataclass(frozen=True)
class StagePlan:
    """How a network is trained and tested.

    Attributes:
        distiller: ``(student, teacher or None) -> distiller``.
        trainer: ``(role, callbacks) -> Trainer`` with these callbacks beside its own.
        data: Training, validation and test samples.
        seed: Set before the network is made and again before training, so that two stages with the same seed start
            from the same weights and see the same batches.
        checkpoints: When :class:`~lightning_distill.callbacks.BestAndLast` writes a checkpoint within an epoch.
        nonfinite: What :class:`~lightning_distill.callbacks.NonFinite` does about NaN and infinity.
    """

    distiller: Callable[[nn.Module, nn.Module | None], BaseDistiller]
    trainer: Callable[[str, Sequence[pl.callbacks.Callback]], pl.Trainer]
    data: pl.LightningDataModule
    seed: int = 0
    checkpoints: Mapping[str, Any] = field(default_factory=dict)
    nonfinite: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CachePlan:
    """How the teacher's answers to the training samples are stored, so that they are computed once.

    Attributes:
        folder: Of the stores; each gets a folder of its own in it, named after what it holds.
        view: ``"augmented"``: the views that the student sees; ``"clean"``: the images as they are.
        epochs: Entries of each sample; ``None`` for as many as there are epochs that look different.
        encoding: How logits are kept.
    """

    folder: Path
    view: str = "augmented"
    epochs: int | None = None
    encoding: Encoding = field(default_factory=Dense)


@dataclass(frozen=True)
class TeacherPlan:
    """Where the teacher comes from.

    Attributes:
        model: Makes the network.
        stage: How it is trained and tested.
        train: Train it if there is no checkpoint; if not, it is used as ``model`` makes it.
        checkpoint: A file with its weights.
        submodule: Which network of that file, where it holds several.
        drop_head: Leave the classifier as ``model`` makes it where the file's has other classes.
        cache_dir: Where trained teachers are kept for other runs; ``None`` keeps none.
        recipe: Plain values that hold everything that makes this teacher what it is: the key in the cache.
        frozen: Makes the network the teacher that is asked, with its own input and classes.
        cache: How its answers are stored; ``None`` asks it in every step.
    """

    model: Callable[[], nn.Module]
    stage: StagePlan
    train: bool = True
    checkpoint: Path | None = None
    submodule: str | None = None
    drop_head: bool = False
    cache_dir: Path | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    frozen: Callable[[nn.Module], FrozenTeacher] = FrozenTeacher
    cache: CachePlan | None = None


@dataclass(frozen=True)
class Plan:
    """One run.

    Attributes:
        folder: Where everything goes.
        stage: How student and baseline are trained.
        student: Makes the student.
        teacher: ``None`` for a run without one: the student is trained alone.
        baseline: Also train the student alone, with the same seed and budget.
        config: What is written to ``config.yaml``.
        ckpt_path: A checkpoint from which the student's stage goes on.
        resumes: The folder holds an unfinished run: go on where it stopped.
        export: File name of the deployable student, ``.pt2`` or ``.onnx``; ``None`` writes none.
        report: Draw the report at the end.
        command: What was typed to start the run.
        facts: Further scalars for ``metrics.json``.
    """

    folder: RunFolder
    stage: StagePlan
    student: Callable[[], nn.Module]
    teacher: TeacherPlan | None = None
    baseline: bool = True
    config: str = ""
    ckpt_path: Path | None = None
    resumes: bool = False
    export: str | None = "student.pt2"
    report: bool = True
    command: str = ""
    facts: Mapping[str, Scalar] = field(default_factory=dict)
