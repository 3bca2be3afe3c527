"""The config that a run's folder holds, for a run that goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from lightning_distill.cli.conf import conf_folder
from lightning_distill.report import RunFolder


def saved_config(config: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """The config of the run that is resumed."""
    folder = Path(config.resume)
    if not RunFolder(folder).config.is_file():
        raise FileNotFoundError(f"Expected `resume` to name the folder of a run, but {folder} has no config.yaml.")
    others = [override for override in overrides if not override.lstrip("+").startswith(("resume=", "hydra."))]
    if others:
        raise ValueError(
            f"Expected nothing beside `resume`, since a run goes on with its own config, but got {' '.join(others)}. "
            "To change something, start a new run from a checkpoint: ckpt_path=<folder>/checkpoints/student/last.ckpt"
        )
    saved = OmegaConf.load(RunFolder(folder).config)
    if not isinstance(saved, DictConfig):
        raise ValueError(f"Expected {RunFolder(folder).config} to hold a config, but got a list.")
    add_newer_keys(saved)
    saved.output_dir, saved.resume = str(folder), str(folder)
    return saved


def add_newer_keys(saved: DictConfig) -> None:
    """Give a config that an older version of the package wrote the keys that it did not know, at their defaults."""
    defaults = OmegaConf.to_container(OmegaConf.load(conf_folder() / "train.yaml"), resolve=False)
    for name, value in defaults.items() if isinstance(defaults, dict) else ():
        if name not in saved and name not in ("defaults", "output_dir"):
            saved[name] = value
