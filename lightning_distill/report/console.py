"""Talk to whoever started the run: from one process only."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from lightning_distill.engine import pl

FILE_WIDTH = 120  # columns where the output goes to a file


def program() -> str:
    """How the training was started, to say how to go on: the console script, or ``python train.py``."""
    name = Path(sys.argv[0]).stem
    return name if name.startswith("lightning-distill") else "python train.py"


def is_main_process() -> bool:
    """Whether this is the one process that writes and talks."""
    return int(getattr(pl.utilities.rank_zero_only, "rank", 0)) == 0


@pl.utilities.rank_zero_only
def say(message: Any) -> None:
    """Print a line or a table, once for all processes."""
    # Made anew each time, so that it writes to whatever standard output is now.
    console = Console(highlight=False, soft_wrap=isinstance(message, str), markup=False)
    if not console.is_terminal:
        console.width = FILE_WIDTH
    console.print(message)
