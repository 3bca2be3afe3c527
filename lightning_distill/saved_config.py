"""The config that a run's folder holds, for a run that goes on."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lightning_distill.cli.conf import conf_folder
from lightning_distill.cli.trust import check_trust
from lightning_distill.report import RunFolder
from lightning_distill.text_files import config_error, read_config_text

# The first and the last line of a config that a run writes: of one that is cut off, only the first is there.
FIRST = "# As lightning-distill composed it; the last line says that this file is whole."
LAST = "..."
WAY_OUT = (
    "Bring it back, or start another run with what was typed for this one (`command` in metrics.json) and go on from "
    "its checkpoint: ckpt_path=<folder>/checkpoints/student/last.ckpt"
)


def saved_config(config: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """The config of the run that is resumed."""
    folder = Path(config.resume)
    if not RunFolder(folder).config.is_file():
        raise FileNotFoundError(
            f"Expected `resume` to name the folder of a run, but {folder} has no config.yaml. A run that ended before "
            "it wrote one has done nothing: start it again with what was typed for it."
        )
    others = [
        override
        for override in overrides
        if not override.lstrip("+").startswith(("resume=", "hydra.", "trust_config="))
    ]
    if others:
        raise ValueError(
            f"Expected nothing beside `resume`, since a run goes on with its own config, but got {' '.join(others)}. "
            "To change something, start a new run from a checkpoint: ckpt_path=<folder>/checkpoints/student/last.ckpt"
        )
    path = RunFolder(folder).config
    saved = read_config(path)
    if not is_own(path):  # what it names would run as this user
        plain: Any = OmegaConf.to_container(saved, resolve=False)
        check_trust(plain, str(path), bool(config.get("trust_config")))
    add_newer_keys(saved)
    saved.output_dir, saved.resume = str(folder), str(folder)
    return saved


def config_text(config: Any) -> str:
    """A config as :func:`read_config` reads it.

    Args:
        config: Plain values.
    """
    return f"{FIRST}\n{OmegaConf.to_yaml(OmegaConf.create(config))}{LAST}\n"


def is_own(path: Path) -> bool:
    """Whether a file is this user's, and not for everyone to write to."""
    status = path.stat()
    return not hasattr(os, "getuid") or (status.st_uid == os.getuid() and not status.st_mode & stat.S_IWOTH)


def read_config(path: Path) -> DictConfig:
    """A config file: plain values, whatever it holds; nothing in it is run.

    Raises:
        ValueError: If it is none, or much larger than a config is.
    """
    try:
        text = read_config_text(path)
        if text.startswith(FIRST) and text.rstrip().rpartition("\n")[2] != LAST:
            raise ValueError(f"Expected {path} to be a config that a run wrote, but it is cut off.")
        saved = OmegaConf.create(text)
    # The last of them is OmegaConf's about text that is a number.
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, TypeError, RecursionError, AssertionError) as error:
        said = error if str(path) in str(error) else config_error(path, error)
        raise ValueError(f"{said} {WAY_OUT}") from None
    if not isinstance(saved, DictConfig) or "output_dir" not in saved:
        raise ValueError(f"Expected {path} to be a config that a run wrote, but it has no `output_dir`. {WAY_OUT}")
    return saved


def add_newer_keys(saved: DictConfig) -> None:
    """Give a config that an older version of the package wrote the keys that it did not know, at their defaults."""
    defaults = OmegaConf.to_container(OmegaConf.load(conf_folder() / "train.yaml"), resolve=False)
    for name, value in defaults.items() if isinstance(defaults, dict) else ():
        if name not in saved and name not in ("defaults", "output_dir"):
            saved[name] = value
