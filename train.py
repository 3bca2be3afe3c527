"""Distil a teacher into a student: ``python train.py key=value ...``; see ``conf/`` for what can be chosen."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from types import TracebackType

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

HERE = Path(__file__).parent
# The folder of a run that is resumed, or the one for a new run; read by conf/hydra/default.yaml.
OmegaConf.register_new_resolver("run_folder", lambda resume, new: resume or new, replace=True)


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(config: DictConfig) -> float | None:
    """Run what ``config`` says and return the student's best ``val/accuracy``, for a sweep to maximise."""
    # Here, so that a misspelt choice is answered at once.
    from lightning_distill.build import build
    from lightning_distill.pipeline import run

    overrides = HydraConfig.get().overrides.task if HydraConfig.initialized() else ()
    return run(build(config, overrides))


def cli() -> int:
    """Run :func:`main` and answer mistakes with one message. Returns the exit code."""
    full = os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # or Hydra would answer with a stack trace
    try:
        main()
    except KeyboardInterrupt:
        return 130  # what a shell expects after Ctrl-C
    except (HydraException, OmegaConfBaseException) as error:
        from lightning_distill.config_errors import explain

        print(f"error: {explain(error, sys.argv[1:], HERE / 'conf')}", file=sys.stderr)
        return 2
    except (ValueError, TypeError, OSError) as error:
        if not raised_by_us(error.__traceback__):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
