"""Distil a teacher into a student: ``python train.py key=value ...``; ``conf/`` holds what can be chosen."""

from __future__ import annotations

import sys

from lightning_distill.cli.train import cli

if __name__ == "__main__":
    sys.exit(cli())
