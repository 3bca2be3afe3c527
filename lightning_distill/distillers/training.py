"""How a distiller's student is trained: where it starts, what stays frozen, mixed batches, and the optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from lightning_distill.data.mixing import Mixing
from lightning_distill.distillers.core import DistillationCore
from lightning_distill.distillers.needs import check_factory
from lightning_distill.distillers.soft_labels import check_soft_labels
from lightning_distill.dry_run import dry_run
from lightning_distill.models.freezing import freeze as freeze_parts
from lightning_distill.models.initialize import Pairs
from lightning_distill.models.initialize import init_from_teacher as copy_layers
from lightning_distill.optim import Groups, build_optimizer, parameter_groups
from lightning_distill.teachers.cached import CachedTeacher
from lightning_distill.teachers.holder import TeacherHolder
from lightning_distill.types import Batch, describe

OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
SchedulerFactory = Callable[[torch.optim.Optimizer], Any]


class TrainsStudent(DistillationCore, TeacherHolder):
    """The part of a distiller that decides how its student learns, whatever it learns from."""

    def set_training(
        self,
        *,
        optimizer: OptimizerFactory | None,
        scheduler: SchedulerFactory | None,
        no_decay: str | Sequence[str] | None,
        adapter_lr_scale: float,
        mixing: Mixing | None,
        freeze: Sequence[str],
        init_from_teacher: Pairs | None,
    ) -> None:
        """Take over what a distiller was given, once its student, teacher and losses are in place.

        Raises:
            TypeError: If something is of the wrong type.
            ValueError: If something does not fit the networks or the losses.
        """
        check_factory("optimizer", optimizer, "params -> optimizer", "functools.partial(torch.optim.AdamW, lr=1e-3)")
        check_factory(
            "scheduler", scheduler, "optimizer -> scheduler", "functools.partial(CosineAnnealingLR, T_max=10)"
        )
        if mixing is not None and not isinstance(mixing, Mixing):
            raise TypeError(f"Expected `mixing` to be a Mixing, but got {describe(mixing)}. Pass Mixing(...) or None.")
        self.optimizer_factory, self.scheduler_factory = optimizer, scheduler
        self.no_decay, self.adapter_lr_scale = no_decay, adapter_lr_scale
        self.mixing = mixing
        self._lr: float | None = None
        self._mixed_classes: int | None = None
        if mixing is not None:
            compared = {"distillation_loss": self.distillation_loss, **dict(self.terms.losses.items())}
            check_soft_labels(self.student_loss, compared if self.distils else {})
            self._check_asked()
        if init_from_teacher is not None and self.teacher is not None:
            copy_layers(self.student, self.teacher.model, init_from_teacher)
        self._frozen_parts = freeze_parts(self.student, freeze)
        groups = self._parameter_groups()  # raises where an argument does not fit
        if freeze and not groups:
            raise ValueError(
                "Expected `freeze` to leave something to train, but every parameter is frozen. Name fewer modules."
            )

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if self.mixing is not None and stage == "fit":
            self._check_asked()
            self._mixed_classes = self._count_classes()

    def _on_before_batch_transfer(self, batch: Any, dataloader_idx: int = 0) -> Any:
        # What calls the public hook, which would take the place of the data module's. Where Lightning does not call
        # it, ids on a GPU are waited for.
        if isinstance(self.teacher, CachedTeacher) and self._trainer is not None and self._trainer.training:
            self.teacher.announce(self.unpack_batch(batch))
        return super()._on_before_batch_transfer(batch, dataloader_idx)

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        for part in self._frozen_parts:  # so that BatchNorm's statistics stay as they are
            part.eval()

    def mix(self, batch: Batch, index: int) -> Batch:
        """A training batch as it is learned from: mixed where ``mixing`` is set, as it is elsewhere."""
        if self.mixing is None:
            return batch
        classes = self._count_classes() if self._mixed_classes is None else self._mixed_classes
        return self.mixing(batch, num_classes=classes, epoch=self.current_epoch, index=index, rank=self.global_rank)

    def _check_asked(self) -> None:
        if isinstance(self.teacher, CachedTeacher):
            raise ValueError(
                "Expected a teacher that is asked about every batch, since `mixing` is on, but got a CachedTeacher, "
                "which remembers images that were not mixed. Switch mixing off, or use the teacher itself."
            )

    def _count_classes(self) -> int:
        data = getattr(self._trainer, "datamodule", None)
        example = self.example_input if self.example_input is not None else getattr(data, "example_input", None)
        if example is None:
            raise ValueError(
                "Expected `example_input`, by which `mixing` finds the number of classes, but got None. Pass a small "
                "batch of inputs to the distiller, or have the data module declare `example_input`."
            )
        logits = dry_run(self.student, example, lambda _, inputs: self.read_student(inputs)).class_logits
        return int(logits.shape[1])

    # Optimizing.

    @property
    def lr(self) -> float | None:
        """The learning rate where it was set here, as Lightning's ``Tuner.lr_find`` does, or else the factory's own."""
        if self._lr is None and isinstance(self.optimizer_factory, partial):
            return self.optimizer_factory.keywords.get("lr")
        return self._lr

    @lr.setter
    def lr(self, lr: float) -> None:
        self._lr = lr

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
        optimizer = build_optimizer(self.optimizer_factory, self._parameter_groups(), self._lr)
        if self.scheduler_factory is None:
            return optimizer
        scheduler = self.scheduler_factory(optimizer)
        if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            scheduler = {"scheduler": scheduler, "monitor": "val/student_loss"}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def _parameter_groups(self) -> Groups:
        return parameter_groups(self, no_decay=self.no_decay, adapter_lr_scale=self.adapter_lr_scale)
