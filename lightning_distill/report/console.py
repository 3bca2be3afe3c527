"""Talk to whoever started the run: from one process only."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from lightning_distill.engine import pl

FILE_WIDTH = 120  # columns where the output goes to a file


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
