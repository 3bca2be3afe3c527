"""Distil a teacher into a student: ``python train.py key=value ...``; ``conf/`` holds what can be chosen."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

CONF = Path(__file__).parent / "conf"
# The folder of a run that is resumed, or the one for a new run; read by conf/hydra/default.yaml.
OmegaConf.register_new_resolver("run_folder", lambda resume, new: resume or new, replace=True)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")
def main(config: DictConfig) -> float | None:
    """Run what ``config`` says and return the student's best ``val/accuracy``, for a sweep to maximise."""
    # Imported here, so that --help and a misspelt choice are answered at once.
    from lightning_distill.build import build
    from lightning_distill.pipeline import run

    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)  # device lists and tips, three times a run
    overrides = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    try:
        return run(build(config, list(overrides)))
    finally:
        folder = Path(config.output_dir)
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()  # made by Hydra; nothing came of it


def typed(overrides: list[str]) -> list[str]:
    """Overrides in Hydra's words: ``~group`` for ``group=null``, which is left out where a group is empty anyway."""
    defaults = OmegaConf.load(CONF / "train.yaml").defaults
    chosen = {name: option for entry in defaults if entry != "_self_" for name, option in entry.items()}
    off = {f"{name}=null": name for name in chosen}
    return [f"~{off[o]}" if o in off else o for o in overrides if o not in off or chosen[off[o]] is not None]


def cli() -> int:
    """Call :func:`main` and answer mistakes with one message. Returns the exit code."""
    sys.argv[1:] = typed(sys.argv[1:])
    details = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # so that errors come here as they are
    try:
        main()
    except KeyboardInterrupt:
        return 130  # what a shell expects after Ctrl-C
    except (HydraException, OmegaConfBaseException, ValueError, TypeError, OSError) as error:
        if details or not is_answer(error):
            raise
        print(f"error: {answer(error)}", file=sys.stderr)
        return 1
    return 0


def is_answer(error: Exception) -> bool:
    """Whether an error was raised to tell the user something, rather than by a fault further down."""
    if isinstance(error, (HydraException, OmegaConfBaseException)):
        return True
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and "lightning_distill" in Path(frames[-1].filename).parts


def answer(error: Exception) -> str:
    """What to tell the user."""
    if not isinstance(error, HydraException):
        return str(error)
    from lightning_distill.build import explain

    return explain(error, sys.argv[1:], CONF)


if __name__ == "__main__":
    sys.exit(cli())
