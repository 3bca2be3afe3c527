"""Every loss, metric and weight over the epochs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lightning_distill.report.figures.style import ROLE_COLOURS, add_legend, new_axes

Rows = Sequence[Mapping[str, str]]
STYLES = {"train": "-", "val": "--"}
SKIPPED = ("epoch", "step", "seconds")
# The order in which people look; everything else follows by name.
FIRST = ("accuracy", "loss", "student_loss", "distillation_loss")


def curve_figures(rows: Mapping[str, Rows], best: Mapping[str, int]) -> Iterator[tuple[str, Figure]]:
    """``(name, figure)`` for every column of the roles' files; ``train/`` and ``val/`` of one name share a figure.

    Args:
        rows: Rows per epoch by role.
        best: The epoch that counts by role, which is marked.
    """
    for name, columns in sorted(_columns(rows).items(), key=_order):
        figure, axes = new_axes(name.replace("_", " "), "epoch")
        values: list[float] = []
        for role, lines in rows.items():
            for stage, column in columns.items():
                epochs, numbers = _numbers(lines, column)
                if not numbers:
                    continue
                values += numbers
                label = role if stage not in STYLES else f"{role}, {stage}"
                style = STYLES.get(stage, "-")
                axes.plot(epochs, numbers, style, color=ROLE_COLOURS[role], linewidth=1.3, label=label)
                if stage == "val" and best.get(role) in epochs:
                    place = epochs.index(best[role])
                    axes.plot(epochs[place], numbers[place], "o", color=ROLE_COLOURS[role], markersize=6)
        if not values:
            continue
        if min(values) > 0 and max(values) > 30 * min(values):
            axes.set_yscale("log")
            axes.minorticks_off()
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        add_legend(figure)
        yield name, figure


def _columns(rows: Mapping[str, Rows]) -> dict[str, dict[str, str]]:
    """Columns by what they show and the stage: ``{"accuracy": {"train": "train/accuracy", ...}}``."""
    found: dict[str, dict[str, str]] = {}
    names = {column: None for lines in rows.values() for line in lines for column in line}
    for column in names:
        stage, _, name = column.rpartition("/") if column.startswith("train/weight") else column.partition("/")
        if column in SKIPPED or (stage == "" and name == ""):
            continue
        if column.startswith("train/weight/"):
            found.setdefault(f"weight of {name}", {})["weight"] = column
        elif stage in STYLES and name:
            found.setdefault(name, {})[stage] = column
        else:
            found.setdefault(column, {})[""] = column
    return found


def _order(entry: tuple[str, object]) -> tuple[int, str]:
    name = entry[0]
    return (FIRST.index(name) if name in FIRST else len(FIRST), name)


def _numbers(lines: Rows, column: str) -> tuple[list[int], list[float]]:
    pairs = [(int(line["epoch"]), float(line[column])) for line in lines if line.get(column)]
    finite = [(epoch, value) for epoch, value in pairs if math.isfinite(value)]
    return [epoch for epoch, _ in finite], [value for _, value in finite]
