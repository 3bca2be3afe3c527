"""Runs as a sweep leaves them, with numbers that are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml


def write_run(
    folder: Path,
    seed: int,
    baseline: float | None,
    student: float,
    val: float | None = None,
    epochs: tuple[int, int] = (30, 30),
    **settings: Any,
) -> Path:
    """One run's ``metrics.json`` and ``config.yaml``."""
    config = {"seed": seed, "data": {"seed": seed, "split_seed": 0}, "alpha": 0.1, "temperature": 4.0}
    config |= {"output_dir": str(folder), "teacher": {"seed": 0}, **settings}
    config["distiller"] = {"alpha": config["alpha"]}
    run = {"format_version": 1, "seed": seed, "alpha": config["alpha"], "temperature": config["temperature"]}
    size = {"parameters": 1466, "latency_ms": 0.09}
    metrics = {
        "teacher": {"test/accuracy": 0.98, "parameters": 58474, "latency_ms": 0.2},
        "baseline": {"test/accuracy": baseline, "epochs": epochs[0], **size},
        "student": {"test/accuracy": student, "val/accuracy": student if val is None else val, "epochs": epochs[1]}
        | size,
        "run": run | {"test_samples": 225},
    }
    if baseline is None:
        del metrics["baseline"]
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder
