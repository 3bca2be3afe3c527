"""Whether a network is as sure as it is right."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from lightning_distill.report.figures.style import LINES, ROLE_COLOURS, add_legend, new_axes
from lightning_distill.report.predictions import Predictions
from lightning_distill.report.quality import BINS, measure_quality, reliability


def reliability_figure(predictions: Mapping[str, Predictions]) -> Figure:
    """Accuracy over confidence: a calibrated network lies on the diagonal, an overconfident one below it."""
    figure, axes = new_axes("Reliability (expected calibration error)", "confidence", "accuracy", height=3.8)
    axes.plot([0, 1], [0, 1], color=LINES, linestyle="--")
    for role, own in predictions.items():
        _, confidence, accuracy = reliability(own)
        label = f"{role} ({measure_quality(own).ece:.3f})"
        axes.plot(confidence, accuracy, color=ROLE_COLOURS[role], marker="o", markersize=4, label=label)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.05)
    add_legend(figure)
    return figure


def confidence_figure(predictions: Mapping[str, Predictions]) -> Figure:
    """How many test samples are answered with which confidence."""
    figure, axes = new_axes("Confidence", "confidence", "share of test samples", height=3.8)
    for role, own in predictions.items():
        confidence, _, _ = reliability(own)
        weights = [1 / len(confidence)] * len(confidence)
        axes.hist(
            confidence.numpy(),
            bins=BINS,
            range=(0, 1),
            weights=weights,
            histtype="step",
            linewidth=1.8,
            color=ROLE_COLOURS[role],
            label=role,
        )
    add_legend(figure)
    return figure
