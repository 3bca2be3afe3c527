"""Metrics that torchmetrics has not, or not as cheap."""

from lightning_distill.metrics.accuracy import Accuracy

__all__ = ["Accuracy"]
