"""What the teacher says beside the label, and what the student makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from torch import Tensor

from lightning_distill.report.figures.style import LINES, ROLE_COLOURS, add_legend, new_axes, short_name

MOST_CLASSES = 10  # the most likely ones


def softened_figure(
    logits: Mapping[str, Tensor], target: int, temperature: float, class_names: Sequence[str]
) -> Figure:
    """Probabilities of one sample's classes, at temperature 1 and at the run's.

    Args:
        logits: ``[C]`` of the teacher and of the student.
        target: The label.
        temperature: Of the run.
        class_names: One per class.
    """
    teacher = logits["teacher"]
    shown = teacher.argsort(descending=True)[:MOST_CLASSES].sort().values if len(teacher) > MOST_CLASSES else None
    rows = list(range(len(teacher))) if shown is None else shown.tolist()
    figure, axes = new_axes(f"label: {short_name(class_names[target], most=40)}", ylabel="probability", height=3.0)
    bars = [
        ("teacher, T = 1", teacher.softmax(dim=0), LINES, 0.0),
        (f"teacher, T = {temperature:g}", (teacher / temperature).softmax(dim=0), ROLE_COLOURS["teacher"], -0.2),
        (
            f"student, T = {temperature:g}",
            (logits["student"] / temperature).softmax(dim=0),
            ROLE_COLOURS["student"],
            0.2,
        ),
    ]
    for label, values, colour, shift in bars:
        places = [row + shift for row in range(len(rows))]
        axes.bar(places, values[rows].tolist(), 0.9 if shift == 0 else 0.4, color=colour, label=label)
    names = [short_name(class_names[row], most=10) for row in rows]
    axes.set_xticks(range(len(rows)), names, rotation=90 if max(map(len, names)) > 3 else 0)
    axes.grid(visible=False, axis="x")
    add_legend(figure)
    return figure
