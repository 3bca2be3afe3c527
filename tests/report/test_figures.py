"""What is drawn: values that could be wrong, read back from the axes."""

from __future__ import annotations

import pytest
import torch

from lightning_distill.report.figures import agreement_figure, confusion_figure, curve_figures
from lightning_distill.report.predictions import Predictions

TARGET = torch.arange(30)
NAMES = [f"a class of a long name {index}" for index in range(30)]


def answers(*mistakes: int) -> Predictions:
    """Right about every class but these, which are taken for class 0."""
    chosen = torch.tensor([0 if label in mistakes else label for label in TARGET.tolist()])
    return Predictions(torch.eye(30)[chosen], TARGET)


def test_agreement__shows_the_lowest_of_many_classes() -> None:
    figure = agreement_figure({"teacher": answers(), "student": answers(7, 12)}, NAMES)
    (axes,) = figure.axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert len(labels) == 20
    assert all(len(label) == 14 and label.endswith("…") for label in labels)
    assert sorted(bar.get_width() for bar in axes.patches)[:3] == [0.0, 0.0, 1.0]


def test_confusion__counts_of_the_student_minus_the_baselines() -> None:
    target = torch.tensor([0, 1, 1])
    student = Predictions(torch.eye(2)[[0, 1, 1]], target)
    baseline = Predictions(torch.eye(2)[[0, 0, 1]], target)
    axes = confusion_figure({"student": student, "baseline": baseline}, ["a", "b"]).axes[0]
    # True class b, upwards from the bottom row: one less taken for a, one more for b.
    assert {text.get_text(): text.get_position() for text in axes.texts} == {"-1": (0.5, 0.5), "+1": (1.5, 0.5)}


def test_curves__one_figure_per_name_with_the_epoch_that_counts() -> None:
    rows = {
        "student": [
            {
                "epoch": "0",
                "step": "2",
                "seconds": "1",
                "train/loss": "9",
                "val/accuracy": "0.5",
                "train/weight/kd": "1",
            },
            {
                "epoch": "1",
                "step": "4",
                "seconds": "1",
                "train/loss": "nan",
                "val/accuracy": "0.7",
                "train/weight/kd": "0",
            },
        ]
    }
    drawn = dict(curve_figures(rows, {"student": 1}))
    assert list(drawn) == ["accuracy", "loss", "weight of kd"]
    line, dot = drawn["accuracy"].axes[0].lines
    assert line.get_ydata() == pytest.approx([0.5, 0.7])
    assert (dot.get_xdata(), dot.get_ydata()) == (pytest.approx([1]), pytest.approx([0.7]))
    assert drawn["loss"].axes[0].lines[0].get_ydata() == pytest.approx([9.0])
