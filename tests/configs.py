"""Compose and run configs as ``train.py`` does, in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from lightning_distill.build import build
from lightning_distill.cli.conf import typed
from lightning_distill.pipeline import Plan, run

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
# Seconds instead of minutes, and nothing on the screen.
TINY = (
    "debug=fast",
    "trainer=cpu",
    "report=false",
    "+trainer.enable_progress_bar=false",
    "callbacks.progress_bar=null",
)


def composed(*overrides: str, hydra: bool = False) -> DictConfig:
    """The config that these overrides give; with ``hydra``, its own node is there, too."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", typed(list(overrides), CONF), return_hydra_config=hydra)


def planned(folder: Path, *overrides: str) -> Plan:
    """The plan of a run in ``folder``."""
    return build(composed(*overrides, f"output_dir={folder}"), list(overrides))


def tiny_run(folder: Path, *overrides: str) -> float | None:
    """A run with a few batches of everything."""
    return run(planned(folder, *TINY, *overrides))


def options(group: str) -> list[str]:
    """What can be chosen in a config group."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def files(folder: Path) -> list[str]:
    """Every file in a folder, relative to it."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def plain(config: DictConfig) -> Any:
    """A config as plain values, interpolations resolved."""
    return OmegaConf.to_container(config, resolve=True, throw_on_missing=False)
