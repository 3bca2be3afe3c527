"""Lightning under the name that this process uses: ``pytorch_lightning`` or ``lightning.pytorch``.

The two packages hold the same code in distinct classes, and a Trainer of one refuses a module of the other. The first
import of this module decides: it follows ``lightning.pytorch`` where that is imported and ``pytorch_lightning`` is not.
So in a project on ``lightning``, import ``lightning`` first. Everything here imports Lightning through ``pl``.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

NAMES = ("pytorch_lightning", "lightning.pytorch")


def chosen() -> str:
    """The package to follow, by what has been imported so far."""
    standard, unified = NAMES
    return unified if unified in sys.modules and standard not in sys.modules else standard


if TYPE_CHECKING:
    import pytorch_lightning as pl
else:
    pl = import_module(chosen())

__all__ = ["pl"]
