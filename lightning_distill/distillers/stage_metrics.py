"""One set of metrics per stage, so that a validation pass never touches what training has gathered."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torchmetrics import MeanAbsoluteError, Metric, MetricCollection

from lightning_distill.distillers.labels import UNLABELLED
from lightning_distill.distillers.output_kind import OutputKind, output_kind
from lightning_distill.dry_run import map_tensors
from lightning_distill.metrics import Accuracy, LabelAccuracy

# Where metrics of classes come from: they take indices, not probabilities.
OF_CLASSES = ("torchmetrics.classification", "lightning_distill.metrics")
# Metrics of yes-or-no decisions in torchmetrics.classification, by how their names start; they take whole numbers.
OF_DECISIONS = ("Multilabel", "Binary")
STAGES = ("train", "val", "test")


def accuracy() -> Metric:
    """Share of samples whose highest logit is the label's; any number of classes."""
    return Accuracy()


def default_metrics(student_loss: Any) -> dict[str, Metric]:
    """``accuracy`` for classes and for labels (of all yes-or-no decisions), ``mae`` for values."""
    kind = output_kind(student_loss)
    if kind == "values":
        return {"mae": MeanAbsoluteError()}
    return {"accuracy": LabelAccuracy() if kind == "labels" else accuracy()}


def as_collection(metrics: Metric | Mapping[str, Metric] | MetricCollection) -> MetricCollection:
    """One metric, a mapping or a collection as a collection with a state of its own per metric.

    Raises:
        TypeError: If it is none of these.
    """
    if isinstance(metrics, MetricCollection):
        return metrics.clone()
    if isinstance(metrics, Metric):
        return MetricCollection([metrics.clone()], compute_groups=False)
    if isinstance(metrics, Mapping) and all(isinstance(metric, Metric) for metric in metrics.values()):
        return MetricCollection({name: metric.clone() for name, metric in metrics.items()}, compute_groups=False)
    raise TypeError(
        "Expected `metrics` to be a torchmetrics Metric, a mapping of them or a MetricCollection, "
        f"but got {type(metrics).__name__}."
    )


class StageMetrics(nn.Module):
    """``accuracy`` and friends as ``val/accuracy``, and the same for each head as ``val/accuracy_class_head``.

    Args:
        metrics: What to measure; cloned for every stage and head.
        heads: Names of further outputs that are measured beside the main one.
        teacher_agreement: Also measure how often student and teacher choose the same class, or take the same
            yes-or-no decision, in ``val`` and ``test``.
        kind: What the outputs mean.

    Raises:
        ValueError: If agreement is to be measured on values, which nobody chooses.
    """

    def __init__(
        self,
        metrics: Metric | Mapping[str, Metric] | MetricCollection,
        heads: tuple[str, ...] = (),
        teacher_agreement: bool = False,
        kind: OutputKind = "classes",
    ) -> None:
        super().__init__()
        if teacher_agreement and kind == "values":
            raise ValueError(
                "Expected `teacher_agreement` to be False, since the student loss compares values and not choices, but "
                "got True. `distillation_loss` says how far the two are apart."
            )
        self.kind = kind
        base = as_collection(metrics)
        self.collections = nn.ModuleDict(
            {
                self._key(stage, head): base.clone(prefix=f"{stage}/", postfix=f"_{head}" if head else None)
                for stage in STAGES
                for head in ("", *heads)
            }
        )
        self.agreement = nn.ModuleDict(
            {f"{stage}_agreement": self._choices() for stage in STAGES[1:]} if teacher_agreement else {}
        )

    @property
    def measures_agreement(self) -> bool:
        """Whether teacher agreement is measured."""
        return len(self.agreement) > 0

    def names(self, stage: str) -> set[str]:
        """What the metrics of a stage are logged under: ``train/accuracy``."""
        collections = [module for key, module in self.collections.items() if key.split("_")[0] == stage]
        return {str(name) for collection in collections for name in cast(MetricCollection, collection)}

    @staticmethod
    def _key(stage: str, head: str) -> str:
        return f"{stage}_metrics_{head}"

    def update(self, stage: str, logits: Mapping[str, Tensor], target: Tensor) -> None:
        """Add a batch; ``logits`` by head, ``""`` is the main output."""
        for head, values in logits.items():
            self.update_with(self._collection(stage, head), values, target)

    def fresh(self, stage: str) -> MetricCollection | None:
        """A copy of a stage's metrics of the main output that has seen nothing; ``None`` if there are none."""
        collection = self._collection(stage, "")
        if not len(collection):
            return None
        copy = collection.clone()
        copy.reset()
        return copy

    @staticmethod
    def update_with(metrics: MetricCollection, logits: Tensor, target: Tensor) -> None:
        """Add a batch to some metrics; metrics of classes get the largest share of one-hot or mixed labels."""
        if not target.is_floating_point() or target.shape != logits.shape:
            pass
        elif any(map(_takes_decisions, metrics.values(copy_state=False))):
            target = (target > 0.5).long()
        elif any(map(_takes_classes, metrics.values(copy_state=False))):
            labelled = target.sum(dim=1) > 0  # a row of zeros is how mixing writes "no label"
            target = torch.where(labelled, target.argmax(dim=1), UNLABELLED)
        metrics.update(logits, target)

    def update_agreement(self, stage: str, student_logits: Tensor, teacher_logits: Tensor) -> None:
        """Add a batch of both networks' logits."""
        metric = cast(Metric, self.agreement[f"{stage}_agreement"])
        metric.update(student_logits, teacher_logits.argmax(dim=1) if self.kind == "classes" else teacher_logits > 0)

    def updated(self, stage: str) -> dict[str, Metric]:
        """The metrics of a stage that have seen a batch, by the name that they are logged under."""
        metrics = self._of_stage(stage)
        if f"{stage}_agreement" in self.agreement:
            metrics[f"{stage}/teacher_agreement"] = cast(Metric, self.agreement[f"{stage}_agreement"])
        return {name: metric for name, metric in metrics.items() if metric.update_called}

    def counters(self, stage: str) -> dict[str, dict[str, Any]]:
        """What the metrics of a stage have gathered so far, for a checkpoint in the middle of an epoch."""
        return {
            name: {"updates": metric.update_count, "state": dict(metric.metric_state)}
            for name, metric in self._of_stage(stage).items()
        }

    def load_counters(self, stage: str, counters: Mapping[str, Mapping[str, Any]]) -> None:
        """Go on from what a checkpoint holds."""
        for name, metric in self._of_stage(stage).items():
            if name in counters:
                metric._update_count = counters[name]["updates"]
                for state, value in counters[name]["state"].items():
                    setattr(metric, state, map_tensors(value, partial(Tensor.to, device=metric.device)))

    def _choices(self) -> Metric:
        return LabelAccuracy() if self.kind == "labels" else accuracy()

    def _of_stage(self, stage: str) -> dict[str, Metric]:
        found: dict[str, Metric] = {}
        for key, collection in self.collections.items():
            if key.split("_")[0] == stage:
                found |= dict(cast(MetricCollection, collection).items(keep_base=False, copy_state=False))
        return found

    def _collection(self, stage: str, head: str) -> MetricCollection:
        return cast(MetricCollection, self.collections[self._key(stage, head)])


def _takes_decisions(metric: Metric) -> bool:
    name, module = type(metric).__name__, type(metric).__module__
    return module.startswith("torchmetrics.classification") and name.startswith(OF_DECISIONS)


def _takes_classes(metric: Metric) -> bool:
    of_labels = isinstance(metric, LabelAccuracy) or _takes_decisions(metric)
    return type(metric).__module__.startswith(OF_CLASSES) and not of_labels
