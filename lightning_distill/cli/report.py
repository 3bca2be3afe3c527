"""``lightning-distill-report FOLDER ...``, the same as ``python report.py runs=FOLDER`` in a checkout."""

from __future__ import annotations

import sys


def cli() -> int:
    """The verdict over the runs in the folders that are named. Returns the exit code."""
    from lightning_distill.report.summary import main

    return main(sys.argv[1:])
