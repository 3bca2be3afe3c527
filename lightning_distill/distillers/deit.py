"""Distillation through a head of its own (DeiT: Touvron et al., 2021, https://arxiv.org/abs/2012.12877)."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from lightning_distill.checks import check_choice, check_positive
from lightning_distill.distillers.base import BaseDistiller, StudentOutputs
from lightning_distill.distillers.deployable import AveragedHeads, ClassHead
from lightning_distill.dry_run import fit_to, no_trace
from lightning_distill.losses import HardDistillationLoss, KLDistillationLoss
from lightning_distill.models.heads import distillation_head_parameters, read_heads

DistillationType = Literal["soft", "hard", "none"]


class DeiTDistiller(BaseDistiller):
    """Trains a student with two heads: one learns from the labels, the other from the teacher.

    The student gives ``(class_logits, distillation_logits)``: the student loss sees the first, the distillation loss
    the second; what is deployed and measured as ``val/accuracy`` is the mean of the two. Each head is measured beside
    it, as ``val/accuracy_class_head`` and ``val/accuracy_distillation_head``.

    With ``distillation_type="none"`` or without a teacher this is the baseline: the total is the student loss with
    weight 1, the class head alone is trained, measured and deployed, and the distillation head is frozen.

    Args:
        student: A network with two heads; see :func:`~lightning_distill.models.heads.read_heads`.
        teacher: See :class:`~lightning_distill.distillers.base.BaseDistiller`.
        distillation_type: ``"soft"`` (the teacher's probabilities), ``"hard"`` (its decision) or ``"none"``.
        temperature: Above 0; for ``"soft"`` only.
        kwargs: Everything that :class:`~lightning_distill.distillers.base.BaseDistiller` takes. An explicit
            ``distillation_loss`` replaces what type and temperature would build.

    Raises:
        ValueError: If an argument is out of range, or the student gives one output only.

    Example:
        >>> class TwoHeads(nn.Module):
        ...     def forward(self, x):
        ...         return x, 2 * x
        >>> distiller = DeiTDistiller(TwoHeads(), nn.Identity(), distillation_type="hard")
        >>> losses = distiller.compute_losses((torch.eye(2), torch.tensor([0, 1])))
        >>> {name: round(loss.item(), 4) for name, loss in losses.items()}
        {'student_loss': 0.3133, 'distillation_loss': 0.2269}
        >>> distiller(torch.eye(2))  # what is deployed: the mean of both heads
        tensor([[1.5000, 0.0000],
                [0.0000, 1.5000]])
    """

    heads = ("class_head", "distillation_head")

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module | None = None,
        *,
        distillation_type: DistillationType = "soft",
        temperature: float = 1.0,
        **kwargs: Any,
    ) -> None:
        check_choice("distillation_type", distillation_type, ("soft", "hard", "none"))
        check_positive("temperature", temperature)
        self._distillation_type = distillation_type
        self._temperature = temperature
        self._frozen_head: list[nn.Parameter] = []
        super().__init__(student, None if distillation_type == "none" else teacher, **kwargs)
        self.save_hyperparameters({"distillation_type": distillation_type, "temperature": temperature})

    @property
    def distillation_type(self) -> DistillationType:
        """``"soft"``, ``"hard"`` or ``"none"``."""
        return self._distillation_type

    @property
    def distils(self) -> bool:
        return super().distils and self._distillation_type != "none"

    def default_distillation_loss(self) -> nn.Module:
        if self._distillation_type == "hard":
            return HardDistillationLoss()
        return KLDistillationLoss(temperature=self._temperature)

    def read_student(self, inputs: Any) -> StudentOutputs:
        heads = read_heads(self.student, inputs)
        if not self.distils:
            return StudentOutputs(heads.class_logits, heads.class_logits, heads.distillation_logits)
        return StudentOutputs(heads.average, heads.class_logits, heads.distillation_logits)

    def measured(self, outputs: StudentOutputs) -> dict[str, Tensor]:
        if not self.distils:
            return super().measured(outputs)
        both = {"class_head": outputs.class_logits, "distillation_head": outputs.distillation_logits}
        return super().measured(outputs) | both

    def deployable(self) -> nn.Module:
        return AveragedHeads(self.student) if self.distils else ClassHead(self.student)

    def prepare(self, example_input: Any) -> None:
        """Freeze the distillation head of a baseline, or thaw it again once there is a teacher."""
        for parameter in self._frozen_head:
            parameter.requires_grad_(True)
        self._frozen_head = []
        super().prepare(example_input)
        if self.distils:
            return
        with no_trace(self.student), torch.enable_grad():
            self._frozen_head = distillation_head_parameters(self.student, fit_to(self.student, example_input))
        for parameter in self._frozen_head:
            parameter.requires_grad_(False)
