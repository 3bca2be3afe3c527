"""Did distillation help? ``python report.py runs=multirun/<day>/<time>`` tells from finished runs."""

from __future__ import annotations

import sys

from lightning_distill.cli.report import cli

if __name__ == "__main__":
    sys.exit(cli())
