"""Distillation without our LightningModules: for a loop or a module of your own."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from lightning_distill.distillers.core import DistillationCore, StudentOutputs, weighted_sum
from lightning_distill.models.heads import read_heads
from lightning_distill.types import as_logits, call_model


class Distillation(DistillationCore):
    """Student, teacher, losses and terms in one object that returns the named losses of a batch.

    Like a loss module it holds what it adds and nothing else: the parameters of trained losses and adapters are its own
    (``parameters()``, ``state_dict()``), **student and teacher are not**. The student stays where you keep it, so its
    names in your checkpoints do not change; the teacher is frozen, and moves with this object's ``.to()``.

    Args:
        student: The network to train: yours, not registered here.
        teacher: The network to learn from; ``None`` for the labels alone.
        two_heads: The student has a head for the labels and one for the teacher (DeiT), which is what
            ``distillation_loss`` and terms on the logits then see.
        options: ``alpha``, ``student_loss``, ``distillation_loss``, ``distillation_weight``, ``terms`` and
            ``example_input``, as for :class:`~lightning_distill.distillers.core.DistillationCore`.

    Raises:
        TypeError: If ``student`` or ``teacher`` is no network.
        ValueError: If a number is out of range, teacher and student share parameters, or their outputs do not fit.

    Example:
        >>> import torch
        >>> student, teacher = nn.Linear(4, 3), nn.Linear(4, 3)
        >>> distillation = Distillation(student, teacher, alpha=0.5)
        >>> optimizer = torch.optim.SGD([*student.parameters(), *distillation.parameters()], lr=0.1)
        >>> losses = distillation((torch.ones(2, 4), torch.tensor([0, 1])))
        >>> list(losses), len(list(distillation.parameters()))
        (['student_loss', 'distillation_loss'], 0)
        >>> distillation.total(losses).backward()
        >>> optimizer.step()
    """

    def __init__(
        self, student: nn.Module, teacher: nn.Module | None = None, *, two_heads: bool = False, **options: Any
    ) -> None:
        self._two_heads = two_heads
        super().__init__(student, teacher, **options)
        if self.example_input is not None:
            self.prepare(self.example_input)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "student":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def read_student(self, inputs: Any) -> StudentOutputs:
        if self._two_heads:
            heads = read_heads(self.student, inputs)
            return StudentOutputs(heads.average, heads.class_logits, heads.distillation_logits)
        logits = as_logits(call_model(self.student, inputs), "student")
        return StudentOutputs(logits, logits, logits)

    def forward(self, batch: Any, progress: float = 0.0, epoch: int = 0) -> dict[str, Tensor]:
        """Every loss of a batch by name, unweighted: ``student_loss``, ``distillation_loss`` and the terms.

        Args:
            batch: ``(inputs, target)``, ``(inputs, target, sample_ids)``, a ``Batch`` or a mapping.
            progress: Share of the run that is done, in [0, 1]; for schedules.
            epoch: From 0; for teachers that look their answers up.
        """
        return self.named_losses(self.unpack_batch(batch), progress, epoch)

    def total(self, losses: dict[str, Tensor], progress: float = 0.0) -> Tensor:
        """The weighted sum to minimise."""
        return weighted_sum(losses, self.weights_at(progress))
