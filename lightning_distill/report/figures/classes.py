"""Class by class: where a network follows the teacher, and what distillation changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

from lightning_distill.report.figures.style import ROLE_COLOURS, TEXT, add_legend, new_axes, short_name
from lightning_distill.report.predictions import Predictions
from lightning_distill.report.quality import class_agreement, confusion_difference

MOST_CLASSES = 20  # more would not be readable: those where the most happens are shown
ANNOTATED = 12


def agreement_figure(predictions: Mapping[str, Predictions], class_names: Sequence[str]) -> Figure:
    """Share of each class's samples for which baseline and student choose the teacher's class."""
    teacher = predictions["teacher"]
    shares = {
        role: class_agreement(predictions[role], teacher) for role in ("baseline", "student") if role in predictions
    }
    rows = _lowest(shares["student"])
    height = 1.4 + 0.3 * len(rows)
    title = "Agreement with the teacher" + ("" if len(rows) == len(class_names) else f", the {len(rows)} lowest")
    figure, axes = new_axes(title, "share of the class's test samples", height=height)
    thickness = 0.8 / len(shares)
    for place, (role, share) in enumerate(shares.items()):
        positions = [row + (place - (len(shares) - 1) / 2) * thickness for row in range(len(rows))]
        axes.barh(positions, share[rows].nan_to_num().tolist(), thickness, color=ROLE_COLOURS[role], label=role)
    axes.set_yticks(range(len(rows)), [short_name(class_names[row]) for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.grid(visible=False, axis="y")
    add_legend(figure)
    return figure


def confusion_figure(predictions: Mapping[str, Predictions], class_names: Sequence[str]) -> Figure:
    """Counts of the student's confusion matrix minus the baseline's."""
    difference = confusion_difference(predictions["student"], predictions["baseline"])
    rows = _busiest(difference)
    part = difference[rows][:, rows]
    title = "Student minus baseline" + ("" if len(rows) == len(class_names) else f", the {len(rows)} busiest")
    figure, axes = new_axes(title, "chosen class", "true class", height=4.4)
    most = max(1, int(part.abs().max()))
    names = [short_name(class_names[row]) for row in rows]
    mesh = axes.pcolormesh(part.flip(0).numpy(), cmap="PuOr", vmin=-most, vmax=most)
    axes.set_xticks([place + 0.5 for place in range(len(rows))], names, rotation=90 if max(map(len, names)) > 2 else 0)
    axes.set_yticks([place + 0.5 for place in range(len(rows))], names[::-1])
    axes.set_aspect("equal")
    axes.tick_params(labelsize=10 if len(rows) <= ANNOTATED else 7)
    axes.grid(visible=False)
    if len(rows) <= ANNOTATED:
        _annotate(axes, part, most)
    bar = figure.colorbar(mesh, shrink=0.8)
    bar.set_label("test samples", color=TEXT)
    bar.ax.tick_params(colors=TEXT)
    return figure


def _annotate(axes: object, part: Tensor, most: int) -> None:
    for row, counts in enumerate(part.tolist()):
        for column, count in enumerate(counts):
            if count:
                # On the colour of the cell, so the same in a light and in a dark page.
                colour = "#ffffff" if abs(count) > 0.6 * most else "#000000"
                place = (column + 0.5, len(part) - row - 0.5)
                axes.text(*place, f"{count:+d}", ha="center", va="center", fontsize=8, color=colour)  # type: ignore[attr-defined]


def _lowest(share: Tensor) -> list[int]:
    order = share.nan_to_num(nan=2.0).argsort()[:MOST_CLASSES].tolist()
    return sorted(order) if len(share) <= MOST_CLASSES else order


def _busiest(difference: Tensor) -> list[int]:
    size = difference.abs()
    busy = (size.sum(dim=0) + size.sum(dim=1)).argsort(descending=True)[:MOST_CLASSES]
    return sorted(torch.as_tensor(busy).tolist())
