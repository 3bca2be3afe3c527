"""Runs with several seeds in one table: ``python -m lightning_distill.report.summary multirun/<day>/<time>``."""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from lightning_distill.report.console import say
from lightning_distill.report.folder import ROLES, RunFolder, Scalar

ACCURACY = "test/accuracy"
Metrics = dict[str, dict[str, Scalar]]


@dataclass(frozen=True)
class Gain:
    """What distillation added to the test accuracy, over runs that differ in their seed only.

    Attributes:
        mean: Mean over runs of student minus baseline, each pair with the same seed.
        standard_error: Of that mean.
        runs: How many.
    """

    mean: float
    standard_error: float
    runs: int

    @property
    def text(self) -> str:
        """One sentence: whether the mean is more than two standard errors away from zero."""
        points, error = 100 * self.mean, 100 * self.standard_error
        if abs(points) <= 2 * error:
            said = "no difference that these runs can show"
        else:
            said = "distillation helped" if points > 0 else "distillation did harm"
        return f"{points:+.1f} points over {self.runs} seeds, standard error {error:.1f}: {said}."


def gain(runs: Sequence[Metrics]) -> Gain | None:
    """The paired difference of student and baseline; ``None`` with fewer than two runs that have both.

    Example:
        >>> def run(baseline, student):
        ...     return {"baseline": {"test/accuracy": baseline}, "student": {"test/accuracy": student}}
        >>> gain([run(0.80, 0.84), run(0.78, 0.84), run(0.79, 0.81)]).text
        '+4.0 points over 3 seeds, standard error 1.2: distillation helped.'
    """
    pairs = [[_number(run, role) for role in ("baseline", "student")] for run in runs]
    differences = [student - alone for alone, student in pairs if alone is not None and student is not None]
    if len(differences) < 2:
        return None
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    return Gain(statistics.mean(differences), error, len(differences))


def summary_table(runs: Sequence[Metrics]) -> Table:
    """Mean and standard deviation of the test accuracy by role."""
    table = Table(title=f"Test accuracy over {len(runs)} runs", title_justify="left")
    for header in ("", "mean", "standard deviation", "runs"):
        table.add_column(header, justify="right" if header else "left")
    for role in ROLES:
        values = [value for run in runs if (value := _number(run, role)) is not None]
        if values:
            spread = f"{statistics.stdev(values):.2%}" if len(values) > 1 else "–"  # noqa: RUF001
            table.add_row(role, f"{statistics.mean(values):.2%}", spread, str(len(values)))
    return table


def read_runs(folder: Path) -> list[Metrics]:
    """``metrics.json`` of every run below ``folder``.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If the runs differ in more than their seed.
    """
    runs = [RunFolder(file.parent).read() for file in sorted(folder.rglob("metrics.json"))]
    if not runs:
        raise FileNotFoundError(f"Expected {folder} to hold runs, but there is no metrics.json below it.")
    settings = {tuple(run.get("run", {}).get(name) for name in ("alpha", "temperature")) for run in runs}
    if len(settings) > 1:
        raise ValueError(
            f"Expected the runs in {folder} to differ in their seed only, but they have {len(settings)} pairs of alpha "
            "and temperature. Name a folder whose runs belong together."
        )
    return runs


def _number(run: Metrics, role: str) -> float | None:
    value = run.get(role, {}).get(ACCURACY)
    return float(value) if isinstance(value, (int, float)) else None


def main(arguments: Sequence[str]) -> int:
    """Print the summary of the runs in the folder that is named. Returns the exit code."""
    if len(arguments) != 1:
        say("usage: python -m lightning_distill.report.summary FOLDER")
        return 2
    try:
        runs = read_runs(Path(arguments[0]))
    except (FileNotFoundError, ValueError) as error:
        say(f"error: {error}")
        return 1
    say(summary_table(runs))
    found = gain(runs)
    if found is not None:
        say(found.text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
