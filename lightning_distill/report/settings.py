"""Runs that belong together: those that differ in their seed only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lightning_distill.report.folder import RunFolder, Scalar
from lightning_distill.text_files import config_error, printable, read_config_text

Metrics = dict[str, dict[str, Scalar]]
# Of no influence on what is compared: where things go, what is shown, and where a run went on.
IGNORED = ("seed", "output_dir", "resume", "ckpt_path", "export", "report", "teacher_cache", "teacher.cache_dir")
IGNORED_GROUPS = ("logger.", "callbacks.progress_bar", "trainer.enable_", "trainer.log_every_n_steps")


@dataclass(frozen=True)
class Run:
    """One finished run.

    Attributes:
        path: Its folder.
        metrics: What ``metrics.json`` holds.
        config: The flat config, by full key; of runs without ``config.yaml``, alpha and temperature.
    """

    path: Path
    metrics: Metrics
    config: Mapping[str, Any]

    @property
    def seed(self) -> Scalar:
        """Of the student's training."""
        return self.metrics.get("run", {}).get("seed")

    def number(self, role: str, name: str) -> float | None:
        """A number of ``metrics.json``, if it is there and is one; NaN and infinity are none."""
        value = self.metrics.get(role, {}).get(name)
        known = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        return float(value) if known else None  # type: ignore[arg-type]


@dataclass(frozen=True)
class Setting:
    """Runs that differ in their seed only.

    Attributes:
        label: What sets it apart from the other settings; empty if there are none.
        runs: One per seed, in rising order.
        config: The flat config that they share.
    """

    label: str
    runs: Sequence[Run]
    config: Mapping[str, Any]

    def values(self, role: str, name: str) -> list[float]:
        """A number of every run that has it."""
        return [value for run in self.runs if (value := run.number(role, name)) is not None]


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Every finished run in or below the folders.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If a file cannot be read.
    """
    paths = dict.fromkeys(file.parent for folder in folders for file in sorted(folder.rglob("metrics.json")))
    runs = [_read_run(path) for path in paths]
    finished = [run for run in runs if "student" in run.metrics]
    if not finished:
        named = ", ".join(map(str, folders))
        found = f"the {len(runs)} below it have not finished" if runs else "there is no metrics.json below it"
        raise FileNotFoundError(f"Expected {named} to hold finished runs, but {found}.")
    return finished


def _read_run(path: Path) -> Run:
    folder = RunFolder(path)
    metrics = folder.read()
    if not folder.config.exists():
        known = {name: metrics.get("run", {}).get(name) for name in ("alpha", "temperature")}
        return Run(path, metrics, known)
    try:
        config = yaml.safe_load(read_config_text(folder.config))
        return Run(path, metrics, flat(config) if isinstance(config, Mapping) else {})
    except (yaml.YAMLError, TypeError, RecursionError) as error:
        raise config_error(folder.config, error) from None
    except ValueError as error:
        raise error if str(folder.config) in str(error) else config_error(folder.config, error) from None


def group_by_setting(runs: Sequence[Run]) -> list[Setting]:
    """Runs by all that influences them except for the seed; of runs with the same seed the last one counts.

    Example:
        >>> def run(seed, alpha):
        ...     return Run(Path("r"), {"run": {"seed": seed}}, {"seed": seed, "data.seed": seed, "alpha": alpha})
        >>> [(s.label, len(s.runs)) for s in group_by_setting([run(0, 0.1), run(1, 0.1), run(0, 0.5)])]
        [('alpha=0.1', 2), ('alpha=0.5', 1)]
    """
    keys = [key for key in {key: None for run in runs for key in run.config} if not _ignored(key, runs)]
    groups: dict[tuple[str, ...], dict[Scalar, Run]] = {}
    for run in runs:
        groups.setdefault(tuple(repr(run.config.get(key)) for key in keys), {})[run.seed] = run
    varied = _telling([dict(zip(keys, values, strict=True)) for values in groups])
    settings = []
    for seeds in groups.values():
        chosen = sorted(seeds.values(), key=lambda run: (str(type(run.seed)), run.seed or 0))
        config = chosen[0].config
        label = printable(" ".join(f"{key}={_short(config.get(key))}" for key in varied))
        settings.append(Setting(label, chosen, config))
    return settings


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) and len(str(value)) > 6 else str(value)


def _ignored(key: str, runs: Sequence[Run]) -> bool:
    if key in IGNORED or key.startswith(IGNORED_GROUPS):
        return True
    follows = key.rpartition(".")[2] == "seed"
    return follows and all(run.config.get(key) == run.config.get("seed") for run in runs)


def _telling(groups: Sequence[Mapping[str, str]]) -> list[str]:
    """Keys that differ, without those that only repeat a shorter one, as ``distiller.alpha`` repeats ``alpha``."""
    seen: dict[tuple[str | None, ...], str] = {}
    for key in sorted({key: None for group in groups for key in group}, key=lambda key: (key.count("."), len(key))):
        values = tuple(group.get(key) for group in groups)
        if len(set(values)) > 1:
            seen.setdefault(values, key)
    return list(seen.values())


def flat(config: Any, path: str = "") -> dict[str, Any]:
    """Leaves by their full key.

    Example:
        >>> flat({"data": {"seed": 1}, "alpha": 0.1})
        {'data.seed': 1, 'alpha': 0.1}
    """
    if not isinstance(config, Mapping):
        return {path: config}
    leaves: dict[str, Any] = {}
    for key, value in config.items():
        leaves |= flat(value, f"{path}.{key}" if path else str(key))
    return leaves
