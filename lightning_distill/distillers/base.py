"""What every distiller shares: a frozen teacher beside a trained student, and losses that are weighed here."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from lightning_distill.data.mixing import Mixing
from lightning_distill.distillers.core import Loss, StudentOutputs, weighted_sum
from lightning_distill.distillers.labels import labelled_count
from lightning_distill.distillers.means import EpochMeans
from lightning_distill.distillers.output_kind import output_kind
from lightning_distill.distillers.running import RunsStudent
from lightning_distill.distillers.shipping import ShipsStudent
from lightning_distill.distillers.stage_metrics import StageMetrics, default_metrics
from lightning_distill.distillers.term import check_not_metrics
from lightning_distill.distillers.terms import Term
from lightning_distill.distillers.training import OptimizerFactory, SchedulerFactory, TrainsStudent
from lightning_distill.dry_run import map_tensors
from lightning_distill.models.initialize import Pairs
from lightning_distill.processes import from_all
from lightning_distill.schedules import Schedule
from lightning_distill.types import Batch, batch_size_of

__all__ = ["BaseDistiller", "StudentOutputs"]

PLAIN = (bool, int, float, str)
STATE_KEY = "lightning_distill"


class BaseDistiller(TrainsStudent, RunsStudent, ShipsStudent, ABC):
    """A student that is trained on the labels and on a frozen teacher.

    ``total = alpha * student_loss + (1 - alpha) * distillation_loss + sum of weight_i * term_i``

    A subclass says how the student is read (:meth:`read_student`) and which distillation loss is the default.

    Args:
        student: The network to train.
        teacher: The network to learn from: frozen, and absent from ``parameters()``, ``state_dict()`` and checkpoints.
            ``None`` trains the student alone, on the student loss with weight 1: the baseline.
        alpha: Weight of the **student** (ground-truth) loss, in [0, 1]: a number, or a schedule of progress.
        student_loss: ``(logits, target) -> scalar``; cross-entropy if not given. torch's losses of sigmoids make the
            task a multi-label one, its losses of values a regression: defaults of the next and of ``metrics`` follow.
        distillation_loss: ``(student_logits, teacher_logits) -> scalar``. What else it needs it declares by keyword:
            ``target``, ``sample_ids``, ``progress``.
        distillation_weight: Replaces ``1 - alpha`` for recipes whose weights are independent.
        terms: Extra losses by name; see :class:`~lightning_distill.distillers.terms.Term`.
        class_dim: The dimension of both networks' logits that holds the classes: -1 for sequences ``[B, T, C]``.
        metrics: torchmetrics, as one metric, a mapping or a ``MetricCollection``; ``{}`` for none. If not given:
            ``accuracy`` of classes, or of all yes-or-no decisions; ``mae`` of values.
        optimizer: ``params -> optimizer``, for example ``functools.partial(torch.optim.AdamW, lr=1e-3)``.
        scheduler: ``optimizer -> scheduler``, or -> a mapping as Lightning's ``lr_scheduler`` takes it.
        no_decay: ``"norms_and_biases"`` spares them weight decay, and what the student lists in ``no_weight_decay()``;
            or globs of parameter names. See :func:`~lightning_distill.optim.no_decay_names`.
        adapter_lr_scale: Learning rate of what losses and terms bring along, as a multiple of the student's.
        mixing: Mixup and CutMix of every training batch, before teacher and student see it; see
            :class:`~lightning_distill.data.mixing.Mixing`. It needs an example of the inputs.
        freeze: Paths or globs of the student's modules that are not trained; see
            :func:`~lightning_distill.models.freezing.freeze`.
        init_from_teacher: ``{student path: teacher path}`` of modules whose weights the student starts from; see
            :func:`~lightning_distill.models.initialize.init_from_teacher`. Nothing is copied without a teacher.
        memory_format: ``"auto"`` trains a convolutional student with its channels last in memory, unless it is in
            float64; ``"channels_last"`` or ``"preserve"`` decide otherwise. See
            :func:`~lightning_distill.memory_format.runs_channels_last`.
        compile: ``torch.compile`` the student, in place, while it is fitted; a mapping holds arguments for that.
        example_input: A small batch of inputs. With it, shapes and numbers of classes are checked at construction;
            ``terms`` need it. Without it, the data module's ``example_input`` is used where there is one.
        teacher_agreement: Also log the share of validation and test samples for which student and teacher choose the
            same class, or of labels for which they decide alike (one teacher pass per batch); not for values.

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
        class_dim: int = 1,
        metrics: Metric | Mapping[str, Metric] | MetricCollection | None = None,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        no_decay: str | Sequence[str] | None = None,
        adapter_lr_scale: float = 1.0,
        mixing: Mixing | None = None,
        freeze: Sequence[str] = (),
        init_from_teacher: Pairs | None = None,
        memory_format: str = "auto",
        compile: bool | Mapping[str, Any] = False,
        example_input: Any = None,
        teacher_agreement: bool = False,
    ) -> None:
        super().__init__(
            student,
            teacher,
            alpha=alpha,
            student_loss=student_loss,
            distillation_loss=distillation_loss,
            distillation_weight=distillation_weight,
            terms=terms,
            class_dim=class_dim,
            example_input=example_input,
        )
        self.set_training(
            optimizer=optimizer,
            scheduler=scheduler,
            no_decay=no_decay,
            adapter_lr_scale=adapter_lr_scale,
            mixing=mixing,
            freeze=freeze,
            init_from_teacher=init_from_teacher,
        )
        self.set_running(memory_format=memory_format, compile=compile)
        self.stage_metrics = StageMetrics(
            default_metrics(student_loss) if metrics is None else metrics,
            self.heads,
            teacher_agreement=teacher_agreement and teacher is not None,
            kind=output_kind(student_loss),
        )
        check_not_metrics(terms or {}, self.stage_metrics.names("train"))
        self._means = {stage: EpochMeans() for stage in ("train", "val", "test")}
        self._scheduled_weights: dict[str, float] = {}
        self.latest_losses: dict[str, Tensor] = {}  # of the last training step, for callbacks
        plain = {"alpha": alpha, "distillation_weight": distillation_weight, "teacher_agreement": teacher_agreement}
        self.save_hyperparameters({name: value for name, value in plain.items() if isinstance(value, PLAIN)})
        if example_input is not None:
            self.prepare(example_input)

    # Before training.

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if self.example is not None:
            self.prepare(self.example)
        self.terms.check_dataset_size(getattr(getattr(self._trainer, "datamodule", None), "dataset_size", 0))
        for module in (self.distillation_loss, self.terms):
            if isinstance(module, nn.Module) and not self.distils:
                module.requires_grad_(False)  # DDP rejects trainable parameters that no loss reaches

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
        return self.named_losses(self.unpack_batch(batch), self.progress, self.current_epoch, self._where())

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        batch = self.mix(self.unpack_batch(batch), batch_idx)
        losses = self.compute_losses(batch)
        weights = self.loss_weights()
        total = weighted_sum(losses, weights)
        parts = {name: loss.detach() for name, loss in losses.items()}
        self.latest_losses = {"loss": total.detach(), **parts}
        self._note_step(self.latest_losses, weights, batch)
        return {"loss": total, **parts}

    def on_train_epoch_end(self) -> None:
        self._guard.flush()
        self.log_dict(self._scheduled_weights)
        self._log_stage("train")

    @property
    def progress(self) -> float:
        """Share of the run's optimizer steps that are done, in [0, 1]; 0 outside of training."""
        trainer = self._trainer
        if trainer is None or not trainer.training:
            return 0.0
        return min(1.0, trainer.global_step / max(1.0, float(trainer.estimated_stepping_batches)))

    def loss_weights(self) -> dict[str, float]:
        """What each loss is multiplied by at this point of the run."""
        return self.weights_at(self.progress)

    def _labelled_rows(self, batch: Batch) -> Tensor | None:
        # On a GPU a look at the labels makes the step wait: not where the data module says that all samples have one.
        data = getattr(self._trainer, "datamodule", None)
        return super()._labelled_rows(batch) if getattr(data, "has_unlabelled", True) else None

    def _where(self) -> str:
        trainer = self._trainer
        if trainer is None or not trainer.training:
            return "this batch"
        return f"batch {trainer.fit_loop.batch_idx} of epoch {trainer.current_epoch}"

    def _note_step(self, losses: Mapping[str, Tensor], weights: Mapping[str, float], batch: Batch) -> None:
        """Keep what the epoch's means need; show and log the step itself every ``log_every_n_steps``."""
        self._note("train", losses, batch)
        if self._outputs is not None:
            self._update_metrics("train", self._outputs, batch)
            self._outputs = None
        self._scheduled_weights = {f"train/weight/{name}": weights[name] for name in self.scheduled()}
        trainer, every = self._trainer, getattr(self._trainer, "log_every_n_steps", 0)
        if trainer is None or not every or trainer.global_step % every:
            return
        self.log("train/loss", losses["loss"], on_step=True, on_epoch=False, prog_bar=True, logger=False)
        values = {f"train/{name}_step": float(loss) for name, loss in losses.items()} if trainer.loggers else {}
        values |= {f"{name}_step": weight for name, weight in self._scheduled_weights.items()}
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step)

    # Measuring.

    def forward(self, inputs: Any) -> Tensor:
        """The logits ``[B, C, ...]`` of what is deployed."""
        return self.read_student(inputs).deployed

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluate("val", self.unpack_batch(batch))

    def test_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self._evaluate("test", self.unpack_batch(batch))

    def on_validation_epoch_end(self) -> None:
        self._log_stage("val")

    def on_test_epoch_end(self) -> None:
        self._log_stage("test")

    def predict_step(self, batch: Any, batch_idx: int = 0) -> Tensor:
        inputs = batch if isinstance(batch, Tensor) else self.unpack_batch(batch).inputs
        logits: Tensor = self(inputs)
        return logits

    def measured(self, outputs: StudentOutputs) -> dict[str, Tensor]:
        """The logits to measure: the deployed ones under ``""``, those of :attr:`heads` under their names."""
        return {"": outputs.deployed}

    def _evaluate(self, stage: str, batch: Batch) -> Tensor:
        outputs = self.student_outputs(batch.inputs)
        if batch.target is not None:
            self._note(stage, {"student_loss": self._student_loss(outputs, batch)}, batch)
            self._update_metrics(stage, outputs, batch)
        if self.distils and self.stage_metrics.measures_agreement:
            self.stage_metrics.update_agreement(stage, outputs.deployed, self.teacher_logits(batch))
        return outputs.deployed

    def _note(self, stage: str, losses: Mapping[str, Tensor], batch: Batch) -> None:
        """Add losses to the means of the epoch: the student loss over the labels, the others over the samples."""
        size = batch_size_of(batch.inputs)
        named = {f"{stage}/{name}": loss for name, loss in losses.items()}
        supervised = {name: loss for name, loss in named.items() if name == f"{stage}/student_loss"}
        others = {name: loss for name, loss in named.items() if name not in supervised}
        for group, count in ((supervised, labelled_count(batch.target, size)), (others, size)):
            if group:
                self._means[stage].add(group, count)

    def _update_metrics(self, stage: str, outputs: StudentOutputs, batch: Batch) -> None:
        if batch.target is not None:
            measured = {head: logits.detach() for head, logits in self.measured(outputs).items()}
            self.stage_metrics.update(stage, measured, batch.target)

    def _log_stage(self, stage: str) -> None:
        """Log an epoch's means and metrics, once."""
        means = self._means[stage].read(lambda sums: self.trainer.strategy.reduce(sums, reduce_op="sum"))
        for name, value in means.items():
            self.log(name, value, prog_bar=name in ("train/loss", "val/student_loss"), sync_dist=True)
        for name, metric in self.stage_metrics.updated(stage).items():
            self.log(name, metric, prog_bar=name == "val/accuracy")

    # What a checkpoint in the middle of an epoch needs beside the weights.

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        own: dict[str, Any] = {}
        if self._means["train"]:
            sums = {"means": self._means["train"].state_dict(), "metrics": self.stage_metrics.counters("train")}
            own = map_tensors(sums, Tensor.cpu)
        # Lightning writes a checkpoint with all processes, each of which has seen samples of its own.
        checkpoint[STATE_KEY] = {"applied": self.applied, "processes": from_all(own)}  # the first is for the record

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        processes = checkpoint.get(STATE_KEY, {}).get("processes", [])
        world, rank = (self.trainer.world_size, self.global_rank) if self._trainer is not None else (1, 0)
        if len(processes) == world and processes[rank]:
            self._means["train"].load_state_dict(processes[rank]["means"], self.device)
            self.stage_metrics.load_counters("train", processes[rank]["metrics"])
