"""``lightning-distill-train key=value ...``, the same as ``python train.py`` in a checkout."""

from __future__ import annotations

import shlex
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import InterpolationKeyError

from lightning_distill.cli.answers import answered, raised_in_hydra
from lightning_distill.cli.conf import conf_folder, typed
from lightning_distill.cli.quiet import quiet

CONF = conf_folder()
_typed: list[str] = []  # the command line, before it was put in Hydra's words


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")
def main(config: DictConfig) -> float | None:
    """Run what ``config`` says and return the student's best ``val/accuracy``, for a sweep to maximise."""
    # Imported here, so that --help and a misspelt choice are answered at once.
    from lightning_distill.build import build
    from lightning_distill.pipeline import run
    from lightning_distill.report.console import program

    quiet()
    overrides = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    try:
        plan = build(config, list(overrides))
        command = f"{program()} {shlex.join(_typed or overrides)}".strip()
        return run(replace(plan, command=command))
    finally:
        with suppress(OSError):  # something came of it
            Path(config.output_dir).rmdir()  # made by Hydra


def cli() -> int:
    """Call :func:`main` and answer mistakes with one message. Returns the exit code."""
    _typed[:] = sys.argv[1:]
    sys.argv[1:] = typed(sys.argv[1:], CONF)
    code = answered(lambda: main(), answer)
    if code == 0 and "torch.distributed" in sys.modules:
        from lightning_distill.processes import leave

        leave()  # not after a mistake: another process may be waiting for this one
    return code


def answer(error: Exception) -> str:
    """What to tell the user."""
    from lightning_distill.explain import explain, unread

    if isinstance(error, OSError) and error.filename is not None and not str(error).startswith("Expected"):
        return (
            f"Expected a file or a folder that can be made and read, but got {error.filename}: {error.strerror}. "
            "Choose another: hydra.run.dir=... or resume=... for a run, to=... for a result"
        )
    if isinstance(error, InterpolationKeyError):
        return (
            f"Expected `{error.full_key}` to have a value, but it is that of another key: "
            f"{str(error).splitlines()[0]}. Give either a value."
        )
    if isinstance(error, HydraException):
        return explain(error, sys.argv[1:], CONF)
    return unread(error, _typed) if raised_in_hydra(error) else str(error)
