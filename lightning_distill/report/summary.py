"""The verdict over seeds and settings: ``python report.py runs=multirun/<day>/<time>``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from lightning_distill.report.console import say
from lightning_distill.report.folder import ROLES
from lightning_distill.report.settings import Run, Setting, group_by_setting, read_runs
from lightning_distill.report.statistics import Comparison, Estimate, compare, estimate
from lightning_distill.text_files import printable

ACCURACY = "test/accuracy"
SELECTED_BY = "val/accuracy"
NOT_MEASURED = "–"  # noqa: RUF001
AT_LENGTH = 4  # settings; more are easier to read as rows
USAGE = """usage: lightning-distill-report FOLDER ...     (in a checkout: python report.py runs=FOLDER)

Tell from finished runs whether distillation helped: mean, deviation and interval over seeds, a paired test against
the baseline, the best alpha and temperature by validation accuracy, and accuracy against latency and size. Runs that
differ in their seed only form one setting. Writes verdict.html, verdict.json, pareto.png and, where alpha or
temperature vary, alpha_temperature.png into the first FOLDER.

  FOLDER            of runs, at any depth: multirun/<day>/<time>
  runs=A,B          the same, as the training's options are written
  --help            this text"""


@dataclass(frozen=True)
class Summary:
    """Settings with what their runs tell.

    Attributes:
        settings: One per set of runs that differ in their seed only.
        comparisons: Of student and baseline, by setting.
        best: Index of the setting with the best mean validation accuracy; ``None`` if that is not known.
        notes: What a reader should know about the numbers.
    """

    settings: Sequence[Setting]
    comparisons: Sequence[Comparison]
    best: int | None
    notes: Sequence[str]


def summarize(runs: Sequence[Run]) -> Summary:
    """Compare student and baseline in every setting, and choose the best setting by validation, not by test."""
    settings = group_by_setting(runs)
    pairs = [_pairs(setting) for setting in settings]
    tested = max(1, sum(len(own) > 1 for own, _ in pairs))
    comparisons = [compare(own, alone, tested) for own, alone in pairs]
    means = [estimate(values).mean if (values := s.values("student", SELECTED_BY)) else None for s in settings]
    known = [index for index, mean in enumerate(means) if mean is not None]
    best = max(known, key=lambda index: means[index] or 0.0) if known else None
    return Summary(settings, comparisons, best, list(_notes(settings)))


def _pairs(setting: Setting) -> tuple[list[float], list[float]]:
    found = [(run.number("student", ACCURACY), run.number("baseline", ACCURACY)) for run in setting.runs]
    pairs = [(own, alone) for own, alone in found if own is not None and alone is not None]
    return [own for own, _ in pairs], [alone for _, alone in pairs]


def _notes(settings: Sequence[Setting]) -> list[str]:
    notes = ["Test accuracy is of the epoch with the best validation accuracy, not of the last one."]
    runs = [run for setting in settings for run in setting.runs]
    unequal = [run for run in runs if _unequal_budget(run)]
    if unequal:
        notes.append(
            f"In {len(unequal)} of {len(runs)} runs, student and baseline were trained for different numbers of "
            "epochs, as early stopping leaves it: part of a difference may be the budget's."
        )
    if len(settings) > 1:
        notes.append(
            "The best setting was chosen by validation accuracy. Compare it with the baseline on seeds that took no "
            "part in the choice."
        )
    lost = [run for run in runs if run.number("student", ACCURACY) is None]
    if lost:
        notes.append(f"In {len(lost)} of {len(runs)} runs the student has no finite test accuracy: they are left out.")
    if len({run.number("run", "test_samples") for run in runs}) > 1:
        notes.append("Not all runs were tested on the same number of samples.")
    return notes


def _unequal_budget(run: Run) -> bool:
    own, alone = run.number("student", "epochs"), run.number("baseline", "epochs")
    return own is not None and alone is not None and own != alone


def summary_table(setting: Setting) -> Table:
    """Mean, standard deviation and confidence interval of the test accuracy by role."""
    title = f"Test accuracy over {len(setting.runs)} run{'s' if len(setting.runs) > 1 else ''}"
    table = Table(title=f"{title}: {setting.label}" if setting.label else title, title_justify="left")
    for header in ("", "mean", "standard deviation", "95 % interval of the mean", "runs"):
        table.add_column(header, justify="right" if header else "left")
    for role in ROLES:
        values = setting.values(role, ACCURACY)
        if values:
            table.add_row(role, *estimate_cells(estimate(values)))
    return table


def estimate_cells(found: Estimate) -> tuple[str, str, str, str]:
    """An estimate of a share, in words."""
    spread = NOT_MEASURED if found.deviation is None else f"{found.deviation:.2%}"
    known = found.low is not None and found.high is not None
    interval = f"{found.low:.2%} to {found.high:.2%}" if known else NOT_MEASURED
    return f"{found.mean:.2%}", spread, interval, str(found.count)


def overview_table(summary: Summary) -> Table:
    """One row per setting, the best by validation first."""
    table = Table(title=f"{len(summary.settings)} settings, by validation accuracy", title_justify="left")
    for header in ("", "validation", "test", "baseline", "gain", "runs", ""):
        table.add_column(header, justify="right" if header else "left")
    rows = []
    for setting, comparison in zip(summary.settings, summary.comparisons, strict=True):
        names = (("student", SELECTED_BY), ("student", ACCURACY), ("baseline", ACCURACY))
        means = [estimate(values).mean if (values := setting.values(*name)) else None for name in names]
        gain = comparison.difference
        shown = [NOT_MEASURED if mean is None else f"{mean:.2%}" for mean in means]
        shown += [NOT_MEASURED if gain is None else f"{100 * gain.mean:+.1f}", str(len(setting.runs))]
        rows.append((means[0] or 0.0, [setting.label, *shown, comparison.judgement if gain else NOT_MEASURED]))
    for _, row in sorted(rows, key=lambda entry: -entry[0]):
        table.add_row(*row)
    return table


def print_summary(summary: Summary) -> None:
    """Say it on the terminal: each setting at length, or where there are many, in a row each."""
    if len(summary.settings) > AT_LENGTH:
        say(overview_table(summary))
    else:
        for setting, comparison in zip(summary.settings, summary.comparisons, strict=True):
            say(summary_table(setting))
            say(f"{comparison.judgement}: {comparison.reason}\n")
    if summary.best is not None and len(summary.settings) > 1:
        best = summary.settings[summary.best]
        mean = estimate(best.values("student", SELECTED_BY)).mean
        say(f"Best by validation accuracy ({mean:.2%}): {best.label}")
    for note in summary.notes:
        say(note)


def folders(arguments: Sequence[str]) -> list[Path]:
    """The folders that were named, as they are or as ``runs=A,B``.

    Raises:
        ValueError: If something else was typed.
        FileNotFoundError: If there is no such folder.
    """
    found = []
    for argument in arguments:
        name, given, value = argument.partition("=")
        if argument.startswith("-") or (given and name != "runs"):
            raise ValueError(f"Expected folders of runs, or runs=FOLDER, but got {argument!r}.")
        found += [Path(part) for part in (value if given else argument).split(",") if part]
    if not found:
        raise ValueError(f"Expected folders of runs, or runs=FOLDER, but got {' '.join(arguments)!r}.")
    missing = [path for path in found if not path.is_dir()]
    if missing:
        raise FileNotFoundError(f"Expected {missing[0]} to be a folder of runs, but there is no such folder.")
    return found


def report_on(paths: Sequence[Path], quiet: bool = False) -> Summary:
    """Read the runs, say what they tell, and write page, numbers and plots into the first folder."""
    from lightning_distill.report.summary_page import write_summary

    summary = summarize(read_runs(paths))
    if not quiet:
        print_summary(summary)
    write_summary(summary, paths[0])
    say(f"The verdict is in {paths[0] / 'verdict.html'}")
    return summary


def main(arguments: Sequence[str]) -> int:
    """Report on the folders that are named. Returns the exit code."""
    if not arguments or "--help" in arguments or "-h" in arguments:
        say(USAGE)
        return 0 if arguments else 2
    try:
        report_on(folders(arguments))
    except (OSError, ValueError) as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
