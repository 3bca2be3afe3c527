"""The keys under ``teacher`` that say how the teacher is asked."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from lightning_distill.checks import check_choice
from lightning_distill.models import Preprocessing
from lightning_distill.pipeline.plan import CachePlan
from lightning_distill.teachers import FrozenTeacher
from lightning_distill.teachers.store import Dense, TopK
from lightning_distill.teachers.store.header import VIEWS

# What FrozenTeacher takes, except for objects, which the run passes.
TEACHER_OPTIONS = tuple(
    name for name in inspect.signature(FrozenTeacher).parameters if name not in ("model", "example_input")
)
# What it sees, and where it differs from the student.
OWN_INPUT = ("mean", "std", "size")
DIFFERENCES = ("mean", "std", "data_mean", "data_std", "size", "class_map")


def cache_plan(teacher: Mapping[str, Any], run_folder: Path) -> CachePlan | None:
    """How the teacher's answers are stored, by the node ``teacher.cache``; ``None`` where there is none.

    Args:
        teacher: Plain values of the config's node.
        run_folder: Where the store goes if no folder is named.

    Raises:
        ValueError: If a value is out of range.

    Example:
        >>> cache_plan({"cache": {"top_k": 5}}, Path("run")).encoding
        TopK(k=5, dtype='float16')
    """
    cache = teacher.get("cache")
    if cache is None:
        return None
    if not isinstance(cache, Mapping):
        raise ValueError(
            f"Expected `teacher.cache` to be null or the choice teacher/cache=dense or top_k, but got {cache!r}."
        )
    dtype, top_k, epochs = cache.get("dtype", "float16"), cache.get("top_k"), cache.get("epochs")
    view, folder = cache.get("view", "augmented"), cache.get("folder")
    try:
        check_choice("view", view, VIEWS)
        if epochs is not None and (isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1):
            raise ValueError(f"Expected `epochs` to be a whole number of at least 1, or null, but got {epochs!r}.")
        encoding = Dense(dtype) if top_k is None else TopK(top_k, dtype)
    except ValueError as error:
        raise ValueError(f"Could not build `teacher.cache`: {error}") from error
    return CachePlan(run_folder if folder is None else Path(folder), view, epochs, encoding)


def frozen_teacher(teacher: Mapping[str, Any], data: Any) -> Callable[[nn.Module], FrozenTeacher]:
    """Makes a network the teacher that ``teacher`` describes.

    Args:
        teacher: Plain values of the config's node.
        data: The data module: its ``mean`` and ``std`` are undone where the teacher has its own, and shapes are checked
            with its ``example_teacher_input`` where it has one.

    Raises:
        ValueError: If an option is out of range, or is for another teacher than one that is trained in this run.

    Example:
        >>> import torch
        >>> frozen_teacher({"class_map": [1, 0], "train": None}, None)(nn.Linear(4, 2))(torch.zeros(1, 4)).shape
        torch.Size([1, 2])
    """
    options = {name: value for name, value in teacher.items() if name in TEACHER_OPTIONS}
    different = [name for name in DIFFERENCES if options.get(name) is not None]
    if different and teacher.get("train") is not None and teacher.get("checkpoint") is None:
        raise ValueError(
            f"Expected no `teacher.{different[0]}` for a teacher that is trained in this run, since it learns from the "
            "data as they are. Use it with one that has been trained: teacher.checkpoint=..., or teacher.train=null"
        )
    options["example_input"] = getattr(data, "example_teacher_input", None)
    check_choice("teacher.preprocessing", teacher.get("preprocessing"), ("auto", None))
    # A network that is fine-tuned in this run learns from the data as they are.
    auto = teacher.get("preprocessing") == "auto" and (teacher.get("train") is None or bool(teacher.get("checkpoint")))
    make = partial(_frozen, options=options, auto=auto, data=data)
    try:
        make(nn.Identity())
    except ValueError as error:
        raise ValueError(f"Could not build `teacher`: {error}") from error
    return make


def _frozen(model: nn.Module, options: Mapping[str, Any], auto: bool, data: Any) -> FrozenTeacher:
    """The network as the teacher; with ``auto`` it sees images as its pretrained weights expect them."""
    own = getattr(model, "preprocessing", None)
    options = dict(options)
    if auto and isinstance(own, Preprocessing) and all(options.get(name) is None for name in OWN_INPUT):
        options |= own._asdict()
    if options.get("mean") is not None and options.get("data_mean") is None and options.get("data_std") is None:
        options |= {f"data_{name}": getattr(data, name, None) for name in ("mean", "std")}
    return FrozenTeacher(model, **options)
