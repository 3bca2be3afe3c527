"""What has been averaged so far in an epoch, which Lightning's checkpoints do not hold."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torchmetrics import Metric

from lightning_distill.engine import pl

SUMS = ("value", "cumulated_batch_size")


def running_means(trainer: pl.Trainer, module: nn.Module) -> dict[str, Any]:
    """Sums behind the logged means of this epoch, by name, and the states of torchmetrics, by path in ``module``."""
    logged = {
        key: {name: getattr(metric, name) for name in SUMS if hasattr(metric, name)}
        for key, metric in trainer.fit_loop.epoch_loop._results.items()
        if metric.is_tensor and metric.meta.on_epoch and not metric.has_reset
    }
    # Lightning empties those of the validation when the next one begins: only those it has seen in this process.
    emptied = {id(result.value) for result in trainer.fit_loop.epoch_loop.val_loop._results.values()}
    metrics = {
        path: {"updates": metric._update_count, "state": dict(metric.metric_state)}
        for path, metric in _metrics(module).items()
        if metric._update_count > 0 and id(metric) not in emptied
    }
    return {"logged": logged, "metrics": metrics}


def restore_metrics(module: nn.Module, states: dict[str, Any]) -> None:
    """Put the states of torchmetrics back; ones that are not there any more are left out."""
    for path, metric in _metrics(module).items():
        saved = states.get(path)
        if saved is None:
            continue
        for name, value in saved["state"].items():
            setattr(metric, name, _on(metric.device, value))
        metric._update_count, metric._computed = saved["updates"], None


def merge_logged(trainer: pl.Trainer, waiting: dict[str, Any]) -> dict[str, Any]:
    """Add saved sums to those that have been logged again since; returns those that still wait for their name.

    Lightning makes the sum for a name when it is logged first. Saved and new sums add up to the very number that an
    uninterrupted run has, since that adds each batch to the sum of those before.
    """
    results = trainer.fit_loop.epoch_loop._results
    rest = {}
    for key, saved in waiting.items():
        metric = results.get(key)
        if metric is None:
            rest[key] = saved
            continue
        value = saved["value"].to(metric.value.device)
        extreme = metric.meta.is_max_reduction or metric.meta.is_min_reduction
        metric.value = metric.meta.reduce_fx(metric.value, value) if extreme else value + metric.value
        if "cumulated_batch_size" in saved:
            count = metric.cumulated_batch_size
            metric.cumulated_batch_size = saved["cumulated_batch_size"].to(count.device) + count
        metric._computed = None
    return rest


def _metrics(module: nn.Module) -> dict[str, Metric]:
    return {path: metric for path, metric in module.named_modules() if isinstance(metric, Metric)}


def _on(device: Any, value: Any) -> Any:
    if isinstance(value, list):
        return [_on(device, item) for item in value]
    return value.to(device).clone() if isinstance(value, Tensor) else value
