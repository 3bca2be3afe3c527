"""Values that nothing would refuse, or only in the middle of a run: whole numbers, switches, lengths."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from lightning_distill.checks import check_choice
from lightning_distill.export import SUFFIXES

# Keys whose values are files or folders.
PATHS = (
    *("ckpt_path", "student_checkpoint", "resume", "export"),
    *("teacher.checkpoint", "teacher.run", "teacher.cache_dir", "teacher.cache.folder"),
)
SWITCHES = (
    *("baseline", "report", "student_drop_head", "trust_config", "teacher.drop_head"),
    "distiller.teacher_agreement",
)
SEEDS = ("seed", "teacher.seed")
MOST = 2**32 - 1  # what NumPy's seed takes
TRAINERS = ("trainer", "teacher.train.trainer")


def _whole(least: int, *others: int | None) -> Callable[[Any], bool]:
    return lambda value: value in others or (isinstance(value, int) and not isinstance(value, bool) and value >= least)


def _some(value: Any) -> bool:
    """Not nothing: a number of batches, or a share of them."""
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0)


# Of a Trainer: what it takes, in words, and the way out.
LENGTHS: dict[str, tuple[Callable[[Any], bool], str, str]] = {
    "max_epochs": (
        _whole(1, -1, None),
        "a whole number of at least 1, or -1 for no end",
        "To use a network as it is, give its weights: teacher.checkpoint=..., or test it: lightning-distill-evaluate",
    ),
    "max_steps": (_whole(1, -1, None), "a whole number of at least 1, or -1 for no end", "Set `max_epochs` instead"),
    "accumulate_grad_batches": (_whole(1), "a whole number of at least 1", "1 makes a step of every batch"),
    "check_val_every_n_epoch": (_whole(1, None), "a whole number of at least 1, or null", "1 validates every epoch"),
    "val_check_interval": (_some, "a number of batches or a share of an epoch, above 0", "null validates every epoch"),
    "limit_train_batches": (_some, "a number of batches or a share of them, above 0", "null takes all"),
    "limit_test_batches": (_some, "a number of batches or a share of them, above 0", "null takes all"),
    "gradient_clip_val": (
        lambda value: value is None or (isinstance(value, (int, float)) and 0 <= value < math.inf),
        "a number of at least 0",
        "null clips nothing",
    ),
    "fast_dev_run": (lambda value: value is False, "left out, since it keeps no checkpoint", "Use debug=fast"),
}
# The same of every key.
UNSET = object()
RULES: dict[str, tuple[Callable[[Any], bool], str, str]] = {
    **dict.fromkeys(SWITCHES, (lambda value: value is None or isinstance(value, bool), "true or false", "")),
    **dict.fromkeys(
        SEEDS, (lambda value: _whole(0, None)(value) and (value or 0) <= MOST, f"a whole number from 0 to {MOST}", "")
    ),
    "scheduler.milestones": (
        lambda value: value is None or (isinstance(value, ListConfig) and all(map(_whole(1), value))),
        "a list of epochs, [30,60]",
        "",
    ),
    **{f"{trainer}.{name}": rule for trainer in TRAINERS for name, rule in LENGTHS.items()},
}


def check_paths(config: DictConfig) -> None:
    """Raise for a path that is a number or a list.

    Raises:
        TypeError: Names the key.
    """
    for key in PATHS:
        value = OmegaConf.select(config, key)
        if value is not None and not isinstance(value, str):
            raise TypeError(
                f"Expected `{key}` to be a path, but got {value!r}. A name of digits needs quotes: '\"12\"'"
            )


def check_values(config: DictConfig) -> None:
    """Raise for a value with which the run would fail after hours, or do something else than it says.

    Raises:
        ValueError: Names the key.
    """
    for key, (fits, said, way_out) in RULES.items():
        value = OmegaConf.select(config, key, default=UNSET)
        if value is not UNSET and not fits(value):
            raise ValueError(f"Expected `{key}` to be {said}, but got {value!r}.{f' {way_out}.' if way_out else ''}")
    if config.get("export") is not None:
        check_choice("export", Path(config.export).suffix, SUFFIXES)
