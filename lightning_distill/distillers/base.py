"""What every distiller shares: a frozen teacher beside a trained student, and losses that are weighed here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from lightning_distill.checks import check_fraction
from lightning_distill.distillers.needs import call_loss, check_factory, check_weight, lift, loss_needs
from lightning_distill.distillers.preflight import check_class_counts
from lightning_distill.distillers.shipping import ShipsStudent
from lightning_distill.distillers.stage_metrics import StageMetrics, default_metrics
from lightning_distill.distillers.term import check_not_metrics
from lightning_distill.distillers.terms import Term, TermSet
from lightning_distill.dry_run import dry_run
from lightning_distill.schedules import Schedule, is_scheduled, value_at
from lightning_distill.teachers.guard import FiniteGuard
from lightning_distill.types import Batch, as_batch, as_logits, batch_size_of, describe

Loss = Callable[..., Tensor]
PLAIN = (bool, int, float, str)


class StudentOutputs(NamedTuple):
    """What one pass through the student gives.

    Attributes:
        deployed: The logits that are deployed and measured.
        class_logits: The logits that the student loss sees.
        distillation_logits: The logits that the distillation loss sees.
    """

    deployed: Tensor
    class_logits: Tensor
    distillation_logits: Tensor


class BaseDistiller(ShipsStudent, ABC):
    """A student that is trained on the labels and on a frozen teacher.

    ``total = alpha * student_loss + (1 - alpha) * distillation_loss + sum of weight_i * term_i``

    A subclass says how the student is read (:meth:`read_student`) and which distillation loss is the default.

    Args:
        student: The network to train.
        teacher: The network to learn from: frozen, and absent from ``parameters()``, ``state_dict()`` and checkpoints.
            ``None`` trains the student alone, on the student loss with weight 1: the baseline.
        alpha: Weight of the **student** (ground-truth) loss, in [0, 1]: a number, or a schedule of progress.
        student_loss: ``(logits, target) -> scalar``; cross-entropy if not given.
        distillation_loss: ``(student_logits, teacher_logits) -> scalar``. What else it needs it declares by keyword:
            ``target``, ``sample_ids``, ``progress``.
        distillation_weight: Replaces ``1 - alpha`` for recipes whose weights are independent.
        terms: Extra losses by name; see :class:`~lightning_distill.distillers.terms.Term`.
        metrics: torchmetrics, as one metric, a mapping or a ``MetricCollection``. Accuracy if not given, for
            single-label classification; ``{}`` for none.
        optimizer: ``params -> optimizer``, for example ``functools.partial(torch.optim.AdamW, lr=1e-3)``.
        scheduler: ``optimizer -> scheduler``, or -> a mapping as Lightning's ``lr_scheduler`` takes it.
        example_input: A small batch of inputs. With it, shapes and numbers of classes are checked at construction;
            ``terms`` need it. Without it, the data module's ``example_input`` is used where there is one.
        teacher_agreement: Also log the share of validation and test samples for which student and teacher choose the
            same class (one teacher pass per batch).

    Raises:
        TypeError: If ``student`` or ``teacher`` is no network.
        ValueError: If a number is out of range, teacher and student share parameters, or their outputs do not fit.
    """

    # Outputs that are measured beside the deployed one, by the name that is appended to a metric's.
    heads: tuple[str, ...] = ()

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module | None = None,
        *,
        alpha: float | Schedule = 0.1,
        student_loss: Loss | None = None,
        distillation_loss: Loss | None = None,
        distillation_weight: float | Schedule | None = None,
        terms: Mapping[str, Term] | None = None,
        metrics: Metric | Mapping[str, Metric] | MetricCollection | None = None,
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] | None = None,
        scheduler: Callable[[torch.optim.Optimizer], Any] | None = None,
        example_input: Any = None,
        teacher_agreement: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(student, nn.Module):
            raise TypeError(f"Expected `student` to be an nn.Module, but got {describe(student)}.")
        check_weight("alpha", alpha, check_fraction)
        if distillation_weight is not None:
            check_weight("distillation_weight", distillation_weight)
        check_factory("optimizer", optimizer, "params -> optimizer", "functools.partial(torch.optim.AdamW, lr=1e-3)")
        check_factory(
            "scheduler", scheduler, "optimizer -> scheduler", "functools.partial(CosineAnnealingLR, T_max=10)"
        )
        self.student = student
        self.teacher = teacher
        self.alpha = alpha
        self.distillation_weight = distillation_weight
        self.student_loss = nn.CrossEntropyLoss() if student_loss is None else student_loss
        self.distillation_loss = self.default_distillation_loss() if distillation_loss is None else distillation_loss
        self.optimizer_factory, self.scheduler_factory = optimizer, scheduler
        self.example_input = example_input
        self.stage_metrics = StageMetrics(
            default_metrics(student_loss) if metrics is None else metrics,
            self.heads,
            teacher_agreement=teacher_agreement and teacher is not None,
        )
        check_not_metrics(terms or {}, self.stage_metrics.names("train"))
        self.terms = TermSet.build(terms or {}, student, self.teacher, example_input)
        self._needs = loss_needs(self.distillation_loss)
        self._guard = FiniteGuard()
        self._measured: StudentOutputs | None = None
        plain = {"alpha": alpha, "distillation_weight": distillation_weight, "teacher_agreement": teacher_agreement}
        self.save_hyperparameters({name: value for name, value in plain.items() if isinstance(value, PLAIN)})
        if example_input is not None:
            self.prepare(example_input)

    @abstractmethod
    def read_student(self, inputs: Any) -> StudentOutputs:
        """Run the student once and say which output is which."""

    @abstractmethod
    def default_distillation_loss(self) -> nn.Module:
        """The distillation loss where none is given."""

    def unpack_batch(self, batch: Any) -> Batch:
        """Read what the data loader yields; override for batches of another form."""
        return as_batch(batch)

    @property
    def distils(self) -> bool:
        """Whether there is a teacher to learn from; if not, this is plain supervised training."""
        return self.teacher is not None

    # Before training.

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if self.example is not None:
            self.prepare(self.example)
        self.terms.check_dataset_size(getattr(getattr(self._trainer, "datamodule", None), "dataset_size", 0))
        for module in (self.distillation_loss, self.terms):
            if isinstance(module, nn.Module) and not self.distils:
                module.requires_grad_(False)  # DDP rejects trainable parameters that no loss reaches

    def prepare(self, example_input: Any) -> None:
        """Run one example through both networks and raise if their outputs do not fit; nothing is changed by it."""
        outputs = dry_run(self.student, example_input, lambda _, inputs: self.read_student(inputs))
        if self.distils and self.teacher is not None:
            teacher_logits = as_logits(self.teacher.answer_example(example_input), "teacher")
            check_class_counts(outputs.distillation_logits, teacher_logits, self.distillation_loss)

    def on_fit_start(self) -> None:
        super().on_fit_start()
        if self.scheduled() and self.trainer.estimated_stepping_batches == float("inf"):
            raise ValueError(
                f"Expected the length of the run to be known, since the weight of {', '.join(self.scheduled())} is a "
                "schedule of progress, but got an endless one. Set `max_epochs` or `max_steps` of the Trainer."
            )

    # One training step.

    def compute_losses(self, batch: Any) -> dict[str, Tensor]:
        """Every loss of a batch by name, unweighted: ``student_loss``, ``distillation_loss`` and the terms."""
        batch = self.unpack_batch(batch)
        if not self.distils or self.teacher is None:
            outputs = self._run_student(batch)
            return {"student_loss": self._student_loss(outputs, batch)}
        with self.terms.capture(self.student, self.teacher):
            teacher_logits = self.teacher_logits(batch)
            outputs = self._run_student(batch)
        self._guard.check(teacher_logits, self._where())
        losses = {}
        if batch.target is not None or self.alpha != 0:
            losses["student_loss"] = self._student_loss(outputs, batch)
        given = {"target": batch.target, "sample_ids": batch.sample_ids, "progress": self.progress}
        losses["distillation_loss"] = call_loss(
            self.distillation_loss, self._needs, outputs.distillation_logits, teacher_logits, given
        )
        return losses | self.terms.compute(batch, outputs.distillation_logits, teacher_logits, self.progress)

    def teacher_logits(self, batch: Batch) -> Tensor:
        """What the teacher says about a batch: logits ``[B, C, ...]``, detached."""
        if self.teacher is None:
            raise ValueError("Expected `teacher` to be a network, but got None. Assign one to `distiller.teacher`.")
        return as_logits(self.teacher.answer(batch, self.current_epoch), "teacher").detach()

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        batch = self.unpack_batch(batch)
        losses = self.compute_losses(batch)
        weights = self.loss_weights()
        total = torch.stack([weights.get(name, 1.0) * loss for name, loss in losses.items()]).sum()
        parts = {name: loss.detach() for name, loss in losses.items()}
        self._log_step({"loss": total.detach(), **parts}, weights, batch)
        return {"loss": total, **parts}

    def on_train_epoch_end(self) -> None:
        self._guard.flush()

    @property
    def progress(self) -> float:
        """Share of the run's optimizer steps that are done, in [0, 1]; 0 outside of training."""
        trainer = self._trainer
        if trainer is None or not trainer.training:
            return 0.0
        return min(1.0, trainer.global_step / max(1.0, float(trainer.estimated_stepping_batches)))

    def loss_weights(self) -> dict[str, float]:
        """What each loss is multiplied by at this point of the run."""
        if not self.distils:
            return {"student_loss": 1.0}
        progress = self.progress
        alpha = value_at(self.alpha, progress)
        distillation = 1 - alpha if self.distillation_weight is None else value_at(self.distillation_weight, progress)
        return {"student_loss": alpha, "distillation_loss": distillation, **self.terms.weights(progress)}

    def scheduled(self) -> list[str]:
        """Names of the losses whose weights change during the run."""
        if not self.distils:
            return []
        distillation = self.alpha if self.distillation_weight is None else self.distillation_weight
        weights = {"student_loss": self.alpha, "distillation_loss": distillation}
        return [name for name, weight in weights.items() if is_scheduled(weight)] + self.terms.scheduled()

    def _run_student(self, batch: Batch) -> StudentOutputs:
        outputs = self.read_student(batch.inputs)
        self._measured = StudentOutputs(*(logits.detach() for logits in outputs))  # for the metrics of this step
        return outputs

    def _student_loss(self, outputs: StudentOutputs, batch: Batch) -> Tensor:
        if batch.target is None:
            raise ValueError(
                "Expected the batch to hold labels for `student_loss`, but got none. Yield (inputs, target), or set "
                "`alpha=0` to learn from the teacher alone."
            )
        return self.student_loss(lift(outputs.class_logits), lift(batch.target))

    def _where(self) -> str:
        trainer = self._trainer
        if trainer is None or not trainer.training:
            return "this batch"
        return f"batch {trainer.fit_loop.batch_idx} of epoch {trainer.current_epoch}"

    # Measuring.

    def forward(self, inputs: Any) -> Tensor:
        """The logits ``[B, C, ...]`` of what is deployed."""
        return self.read_student(inputs).deployed

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluate("val", self.unpack_batch(batch))

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluate("test", self.unpack_batch(batch))

    def predict_step(self, batch: Any, batch_idx: int = 0) -> Tensor:
        inputs = batch if isinstance(batch, Tensor) else self.unpack_batch(batch).inputs
        logits: Tensor = self(inputs)
        return logits

    def measured(self, outputs: StudentOutputs) -> dict[str, Tensor]:
        """The logits to measure: the deployed ones under ``""``, those of :attr:`heads` under their names."""
        return {"": outputs.deployed}

    def _evaluate(self, stage: str, batch: Batch) -> None:
        outputs = self.read_student(batch.inputs)
        size = batch_size_of(batch.inputs)
        if batch.target is not None:
            self._log_mean({f"{stage}/student_loss": self._student_loss(outputs, batch)}, size)
        self._log_metrics(stage, outputs, batch)
        if self.distils and self.stage_metrics.measures_agreement:
            agreement = self.stage_metrics.update_agreement(stage, outputs.deployed, self.teacher_logits(batch))
            self.log_dict(dict(agreement), on_step=False, on_epoch=True, batch_size=size)

    def _log_step(self, losses: Mapping[str, Tensor], weights: Mapping[str, float], batch: Batch) -> None:
        size = batch_size_of(batch.inputs)
        self._log_mean({f"train/{name}": loss for name, loss in losses.items()}, size)
        scheduled = {f"train/weight/{name}": weights[name] for name in self.scheduled()}
        if scheduled:
            self.log_dict(scheduled, on_step=True, on_epoch=False, batch_size=size)
        if self._measured is not None:
            self._log_metrics("train", self._measured, batch)
            self._measured = None

    def _log_mean(self, values: Mapping[str, Tensor], size: int) -> None:
        for name, value in values.items():
            bar = name in ("train/loss", "val/student_loss")
            self.log(name, value, on_step=False, on_epoch=True, prog_bar=bar, sync_dist=True, batch_size=size)

    def _log_metrics(self, stage: str, outputs: StudentOutputs, batch: Batch) -> None:
        if batch.target is None:
            return
        measured = {head: logits.detach() for head, logits in self.measured(outputs).items()}
        for name, metric in self.stage_metrics.update(stage, measured, batch.target).items():
            bar = name == "val/accuracy"
            self.log(name, metric, on_step=False, on_epoch=True, prog_bar=bar, batch_size=batch_size_of(batch.inputs))

    # Optimizing.

    def configure_optimizers(self) -> Any:
        """The optimizer over everything trainable: the student, and what the losses and terms bring along.

        Raises:
            ValueError: If no ``optimizer`` was given and a subclass does not override this.
        """
        if self.optimizer_factory is None:
            raise ValueError(
                f"Expected `optimizer` of {type(self).__name__} to be a factory, params -> optimizer, but got None. "
                "Pass `optimizer=functools.partial(torch.optim.AdamW, lr=1e-3)`, or override `configure_optimizers`."
            )
        optimizer = self.optimizer_factory([p for p in self.parameters() if p.requires_grad])
        if self.scheduler_factory is None:
            return optimizer
        scheduler = self.scheduler_factory(optimizer)
        if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            scheduler = {"scheduler": scheduler, "monitor": "val/student_loss"}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}
