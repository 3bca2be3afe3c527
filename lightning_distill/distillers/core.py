"""A student, a teacher, losses and terms, and the named losses of a batch: what all distillers are built on."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_distill.checks import check_fraction
from lightning_distill.distillers.labels import labelled_rows, student_loss
from lightning_distill.distillers.needs import call_loss, check_loss, check_weight, lift, loss_needs
from lightning_distill.distillers.output_kind import distillation_loss_for
from lightning_distill.distillers.preflight import check_class_counts
from lightning_distill.distillers.terms import Term, TermSet
from lightning_distill.dry_run import dry_run
from lightning_distill.schedules import Schedule, is_scheduled, value_at
from lightning_distill.teachers.guard import FiniteGuard
from lightning_distill.teachers.holder import HoldsTeacher
from lightning_distill.types import Batch, as_batch, as_logits, describe

Loss = Callable[..., Tensor]


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


class DistillationCore(HoldsTeacher):
    """The losses of a batch by name, and their weights; knows neither Lightning's Trainer nor an optimizer.

    A subclass says how the student is read (:meth:`read_student`).

    Args:
        student: The network to train.
        teacher: The network to learn from; ``None`` for the labels alone.
        alpha: Weight of the student loss, in [0, 1]: a number, or a schedule of progress.
        student_loss: ``(logits, target) -> scalar``; cross-entropy if not given.
        distillation_loss: ``(student_logits, teacher_logits, **needs) -> scalar``.
        distillation_weight: Replaces ``1 - alpha``.
        terms: Extra losses by name.
        class_dim: The dimension of both networks' logits that holds the classes: -1 for sequences ``[B, T, C]``. Losses
            and metrics see them at dimension 1; what is deployed stays as it is.
        example_input: A small batch of inputs: checks that the networks fit each other, and sizes the terms.

    Raises:
        TypeError: If ``student`` or ``teacher`` is no network.
        ValueError: If a number is out of range, teacher and student share parameters, or their outputs do not fit.
    """

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
        example_input: Any = None,
    ) -> None:
        super().__init__()
        if not isinstance(student, nn.Module):
            raise TypeError(f"Expected `student` to be an nn.Module, but got {describe(student)}.")
        check_weight("alpha", alpha, check_fraction)
        if distillation_weight is not None:
            check_weight("distillation_weight", distillation_weight)
        if class_dim == 0 or isinstance(class_dim, bool) or not isinstance(class_dim, int):
            raise ValueError(f"Expected `class_dim` to be a dimension after the batch's, but got {class_dim!r}.")
        check_loss("student_loss", student_loss)
        check_loss("distillation_loss", distillation_loss)
        self.class_dim = class_dim
        self.student = student
        self.teacher = teacher
        self.alpha = alpha
        self.distillation_weight = distillation_weight
        self.student_loss = nn.CrossEntropyLoss() if student_loss is None else student_loss
        self.distillation_loss = self.default_distillation_loss() if distillation_loss is None else distillation_loss
        self.example_input = example_input
        self.terms = TermSet.build(terms or {}, student, self.teacher, example_input)
        self._needs = loss_needs(self.distillation_loss)
        self._guard = FiniteGuard()
        self._outputs: StudentOutputs | None = None

    @abstractmethod
    def read_student(self, inputs: Any) -> StudentOutputs:
        """Run the student once and say which output is which."""

    def default_distillation_loss(self) -> nn.Module:
        """The distillation loss where none is given: what fits the student loss."""
        return distillation_loss_for(self.student_loss)

    def unpack_batch(self, batch: Any) -> Batch:
        """Read what the data loader yields; override for batches of another form."""
        return as_batch(batch)

    @property
    def distils(self) -> bool:
        """Whether there is a teacher to learn from; if not, this is plain supervised training."""
        return self.teacher is not None

    def prepare(self, example_input: Any) -> None:
        """Run one example through both networks and raise if their outputs do not fit; nothing is changed by it."""
        outputs = dry_run(self.student, example_input, lambda _, inputs: self.student_outputs(inputs))
        if self.distils and self.teacher is not None:
            teacher_logits = self._classes_first(as_logits(self.teacher.answer_example(example_input), "teacher"))
            check_class_counts(outputs.distillation_logits, teacher_logits, self.distillation_loss)

    def named_losses(self, batch: Batch, progress: float, epoch: int, where: str = "this batch") -> dict[str, Tensor]:
        """Every loss of a batch by name, unweighted: ``student_loss``, ``distillation_loss`` and the terms.

        Args:
            batch: Samples without a label have the target -100; they count in all but the student loss.
            progress: Share of the run that is done, in [0, 1].
            epoch: From 0.
            where: What an error calls the batch.
        """
        if not self.distils or self.teacher is None:
            return {"student_loss": self._student_loss(self._run_student(batch), batch)}
        with self.terms.capture(self.student, self.teacher):
            teacher_logits = self.teacher_logits(batch, epoch)
            outputs = self._run_student(batch)
        self._guard.check(teacher_logits, where, batch.sample_ids)
        losses = {}
        if batch.target is not None or self.alpha != 0:
            losses["student_loss"] = self._student_loss(outputs, batch)
        given = {"target": batch.target, "sample_ids": batch.sample_ids, "progress": progress}
        student_logits, rows = outputs.distillation_logits, self._labelled_rows(batch)
        losses["distillation_loss"] = call_loss(
            self.distillation_loss, self._needs, student_logits, teacher_logits, given, rows=rows
        )
        return losses | self.terms.compute(batch, student_logits, teacher_logits, progress, rows)

    def teacher_logits(self, batch: Batch, epoch: int | None = None) -> Tensor:
        """What the teacher says about a batch: logits ``[B, C, ...]``, detached.

        Args:
            batch: The samples.
            epoch: The epoch of a training batch, from 0; ``None`` for any other batch.
        """
        if self.teacher is None:
            raise ValueError("Expected `teacher` to be a network, but got None. Assign one to `distiller.teacher`.")
        return self._classes_first(as_logits(self.teacher.answer(batch, epoch), "teacher")).detach()

    def student_outputs(self, inputs: Any) -> StudentOutputs:
        """What :meth:`read_student` gives, with the classes at dimension 1: ``[B, C, ...]``."""
        return StudentOutputs(*(self._classes_first(logits) for logits in self.read_student(inputs)))

    def _classes_first(self, logits: Tensor) -> Tensor:
        return logits if self.class_dim == 1 else logits.movedim(self.class_dim, 1)

    def weights_at(self, progress: float) -> dict[str, float]:
        """What each loss is multiplied by when ``progress``, in [0, 1], of the run is done."""
        if not self.distils:
            return {"student_loss": 1.0}
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
        outputs = self.student_outputs(batch.inputs)
        self._outputs = StudentOutputs(*(logits.detach() for logits in outputs))  # for the metrics of this step
        return outputs

    def _student_loss(self, outputs: StudentOutputs, batch: Batch) -> Tensor:
        if batch.target is None:
            raise ValueError(
                "Expected the batch to hold labels for `student_loss`, but got none. Yield (inputs, target), or set "
                "`alpha=0` to learn from the teacher alone."
            )
        return student_loss(self.student_loss, lift(outputs.class_logits), lift(batch.target))

    def _labelled_rows(self, batch: Batch) -> Tensor | None:
        """Which samples have a label, for losses that read labels; ``None`` for all."""
        return labelled_rows(batch.target) if self._reads_labels() else None

    def _reads_labels(self) -> bool:
        """Whether a loss beside the student loss reads the labels."""
        return "target" in self._needs or self.terms.needs_labels


def weighted_sum(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """The total that is minimised; a loss that has no weight counts once."""
    return torch.stack([weights.get(name, 1.0) * loss for name, loss in losses.items()]).sum()
