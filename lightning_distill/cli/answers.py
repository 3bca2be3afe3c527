"""One message for a mistake, the whole trace for a fault, an exit code for either."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from lightning_distill.stop import StopRequested
from lightning_distill.text_files import printable

INTERRUPTED = 130  # what a shell expects after Ctrl-C
MISTAKES = (HydraException, OmegaConfBaseException, ValueError, TypeError, OSError, ModuleNotFoundError)


def answered(command: Callable[[], object], explain: Callable[[Exception], str] = str) -> int:
    """Call ``command`` and answer a mistake of the user's with one line. Returns the exit code.

    Args:
        command: What to do.
        explain: The message for an error.
    """
    details = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # so that errors come here as they are
    try:
        command()
    except KeyboardInterrupt:
        return INTERRUPTED
    except StopRequested as request:
        return request.exit_code
    except MISTAKES as error:
        if details or not is_answer(error):
            raise
        print(f"error: {printable(explain(error))}", file=sys.stderr)
        return 1
    return 0


def is_answer(error: Exception) -> bool:
    """Whether an error was raised to tell the user something, rather than by a fault further down."""
    if isinstance(error, (HydraException, OmegaConfBaseException)):
        return True
    # Hydra's own complaint about an override is a plain ValueError at times.
    return raised_in_hydra(error) or _raised_in("lightning_distill", error)


def raised_in_hydra(error: Exception) -> bool:
    """Whether Hydra raised it, as what it has a name for or as a plain ``ValueError``."""
    return _raised_in("hydra", error)


def _raised_in(package: str, error: Exception) -> bool:
    frames = [Path(frame.filename) for frame in traceback.extract_tb(error.__traceback__)]
    # A file or a folder that cannot be made is whose it was to make.
    while (
        frames
        and isinstance(error, OSError)
        and (frames[-1].stem in ("pathlib", "os") or "pathlib" in frames[-1].parts)
    ):
        frames.pop()
    return bool(frames) and package in frames[-1].parts
