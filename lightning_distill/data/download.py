"""torchvision's data sets: its class, and its download without its tracebacks."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from filelock import FileLock


def torchvision_class(name: str) -> Any:
    """The class ``torchvision.datasets.<name>``.

    Raises:
        ModuleNotFoundError: If torchvision is not installed, with the way out.
    """
    try:
        return getattr(import_module("torchvision.datasets"), name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"Expected torchvision to be installed for {name}, but got: {error}. Install it: pip install "
            "'lightning-distill[vision]'",
            name=error.name,
        ) from error


def fetch(name: str, root: Path) -> Exception | None:
    """Have torchvision download a data set to ``root``; what it failed with, or ``None``.

    Processes that start together wait for the one that downloads.
    """
    kind = torchvision_class(name)
    try:
        with FileLock(Path(gettempdir()) / f"lightning-distill-{name}.lock"):
            kind(root, train=True, download=True)
    except (RuntimeError, OSError) as error:  # no network, a wrong checksum, no permission
        return error
    return None
