"""Metrics that torchmetrics has not, or not as cheap."""

from lightning_distill.metrics.accuracy import Accuracy
from lightning_distill.metrics.label_accuracy import LabelAccuracy

__all__ = ["Accuracy", "LabelAccuracy"]
