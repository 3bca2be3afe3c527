"""Settings side by side: alpha against temperature, and accuracy against latency and size."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lightning_distill.report.figures.style import ROLE_COLOURS, TEXT, add_legend, new_axes
from lightning_distill.report.folder import ROLES
from lightning_distill.report.settings import Setting

LABELLED = 6  # more labels would lie on each other


def varies(settings: Sequence[Setting]) -> bool:
    """Whether alpha or temperature differ between settings."""
    return any(len({repr(setting.config.get(name)) for setting in settings}) > 1 for name in ("alpha", "temperature"))


def heat_map(settings: Sequence[Setting]) -> Figure:
    """Mean validation accuracy of the student by alpha and temperature; of settings that share both, the best."""
    alphas, temperatures = (_values(settings, name) for name in ("alpha", "temperature"))
    cells = np.full((len(alphas), len(temperatures)), np.nan)
    for setting in settings:
        scores = setting.values("student", "val/accuracy")
        place = alphas.index(setting.config.get("alpha")), temperatures.index(setting.config.get("temperature"))
        if scores:
            cells[place] = np.nanmax([cells[place], statistics.fmean(scores)])
    figure, axes = new_axes("Validation accuracy", "temperature", "alpha (weight of the labels)", height=3.6)
    mesh = axes.pcolormesh(np.ma.masked_invalid(cells), cmap="cividis")
    axes.set_xticks([place + 0.5 for place in range(len(temperatures))], [f"{value}" for value in temperatures])
    axes.set_yticks([place + 0.5 for place in range(len(alphas))], [f"{value}" for value in alphas])
    axes.grid(visible=False)
    middle = (np.nanmax(cells) + np.nanmin(cells)) / 2
    for row, column in zip(*np.nonzero(np.isfinite(cells)), strict=True):
        colour = "#000000" if cells[row, column] > middle else "#ffffff"
        axes.text(column + 0.5, row + 0.5, f"{cells[row, column]:.2%}", ha="center", va="center", color=colour)
    row, column = np.unravel_index(np.nanargmax(cells), cells.shape)
    axes.add_patch(
        Rectangle((int(column), int(row)), 1, 1, fill=False, edgecolor=ROLE_COLOURS["baseline"], linewidth=3)
    )
    bar = figure.colorbar(mesh)
    bar.ax.tick_params(colors=TEXT)
    return figure


def _values(settings: Sequence[Setting], name: str) -> list[object]:
    found = {setting.config.get(name) for setting in settings}
    return sorted(found, key=lambda value: (isinstance(value, str) or value is None, value if value is not None else 0))


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
