"""Settings side by side: alpha against temperature, and accuracy against latency and size."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, NullLocator, StrMethodFormatter

from lightning_distill.report.figures.style import ROLE_COLOURS, TEXT, add_legend, new_axes
from lightning_distill.report.folder import ROLES
from lightning_distill.report.settings import Setting

LABELLED = 6  # more labels would lie on each other


def varies(settings: Sequence[Setting]) -> bool:
    """Whether alpha or temperature differ between settings."""
    return any(len({repr(setting.config.get(name)) for setting in settings}) > 1 for name in ("alpha", "temperature"))


def heat_map(settings: Sequence[Setting]) -> Figure:
    """Mean validation accuracy of the student by alpha and temperature; of settings that share both, the best.

    A grid of cells, or where the values were drawn at random and share no grid, points.
    """
    scores: dict[tuple[object, object], float] = {}
    for setting in settings:
        values = setting.values("student", "val/accuracy")
        place = setting.config.get("temperature"), setting.config.get("alpha")
        if values:
            scores[place] = max(scores.get(place, 0.0), statistics.fmean(values))
    temperatures, alphas = (_sorted({place[axis] for place in scores}) for axis in (0, 1))
    figure, axes = new_axes("Validation accuracy", "temperature", "alpha (weight of the labels)", height=3.6)
    best = max(scores, key=lambda place: scores[place])
    shown: ScalarMappable
    if len(temperatures) * len(alphas) > 2 * len(scores):
        across, up = np.array(list(scores), dtype=float).T
        shown = axes.scatter(across, up, s=60, c=list(scores.values()), cmap="cividis")
        ring = list(scores).index(best)
        axes.scatter(across[ring], up[ring], s=180, facecolor="none", edgecolor=ROLE_COLOURS["baseline"], linewidth=2)
    else:
        shown = _cells(axes, scores, temperatures, alphas)
        corner = temperatures.index(best[0]), alphas.index(best[1])
        axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=ROLE_COLOURS["baseline"], linewidth=3))
    bar = figure.colorbar(shown)
    bar.ax.tick_params(colors=TEXT)
    return figure


def _cells(
    axes: Axes, scores: Mapping[tuple[object, object], float], temperatures: list[object], alphas: list[object]
) -> ScalarMappable:
    cells = np.array([[scores.get((column, row), np.nan) for column in temperatures] for row in alphas])
    mesh = axes.pcolormesh(np.ma.masked_invalid(cells), cmap="cividis")
    axes.set_xticks([place + 0.5 for place in range(len(temperatures))], [f"{value}" for value in temperatures])
    axes.set_yticks([place + 0.5 for place in range(len(alphas))], [f"{value}" for value in alphas])
    axes.grid(visible=False)
    middle = (np.nanmax(cells) + np.nanmin(cells)) / 2
    for row, column in zip(*np.nonzero(np.isfinite(cells)), strict=True):
        colour = "#000000" if cells[row, column] > middle else "#ffffff"
        axes.text(column + 0.5, row + 0.5, f"{cells[row, column]:.2%}", ha="center", va="center", color=colour)
    return mesh


def _sorted(values: set[object]) -> list[object]:
    """Numbers first, in rising order; schedules and the like after them."""
    return sorted(values, key=lambda value: (0, value, "") if isinstance(value, (int, float)) else (1, 0, str(value)))


class Point(NamedTuple):
    """One role of one setting, as means over runs."""

    role: str
    label: str
    latency: float
    accuracy: float
    parameters: float


def pareto(settings: Sequence[Setting]) -> Figure:
    """Test accuracy over CPU latency; the line joins what nothing else beats in both."""
    points = [point for setting in settings for role in ROLES if (point := _point(setting, role)) is not None]
    figure, axes = new_axes("Accuracy, latency, size", "CPU latency of one sample, ms", "test accuracy", height=4.0)
    most = max((point.parameters for point in points), default=1.0)
    for role in ROLES:
        own = [point for point in points if point.role == role]
        if own:
            # Areas follow the parameters; the smallest are still seen.
            areas = [30 + 400 * point.parameters / most for point in own]
            places = [point.latency for point in own], [point.accuracy for point in own]
            axes.scatter(*places, s=areas, color=ROLE_COLOURS[role], alpha=0.6, label=role)
    front = pareto_front(points)
    axes.plot([p.latency for p in front], [p.accuracy for p in front], color=TEXT, linewidth=0.8, linestyle=":")
    if len(settings) <= LABELLED:
        for point in points:
            if point.role == "student" and point.label:
                axes.annotate(point.label, (point.latency, point.accuracy), fontsize=7, color=TEXT)
    axes.set_xscale("log")
    latencies = [point.latency for point in points]
    if latencies and max(latencies) < 10 * min(latencies):
        # Within a power of ten the labels of a logarithmic axis overlap.
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(0.12)
    if points:
        add_legend(figure)
    return figure


def _point(setting: Setting, role: str) -> Point | None:
    numbers = [setting.values(role, name) for name in ("latency_ms", "test/accuracy", "parameters")]
    if not all(numbers):
        return None
    return Point(role, setting.label, *(statistics.fmean(values) for values in numbers))


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Points that no other one beats in latency without losing accuracy, from the fastest on.

    Example:
        >>> fast, slow, bad = (Point("student", "", *v, 1.0) for v in ((1.0, 0.8), (3.0, 0.9), (2.0, 0.7)))
        >>> [point.latency for point in pareto_front([bad, slow, fast])]
        [1.0, 3.0]
    """
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.latency, -p.accuracy)):
        if not front or point.accuracy > front[-1].accuracy:
            front.append(point)
    return front
