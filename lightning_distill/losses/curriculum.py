"""Curriculum temperature, CTKD (Li et al., 2022, https://arxiv.org/abs/2211.16231)."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_distill.checks import at_least_fp32, check_fraction, check_positive
from lightning_distill.losses.logits import as_matrix, lift_pair
from lightning_distill.losses.standardize import standardize_logits


class ScaleGradient(torch.autograd.Function):
    """The input as it is; its gradient times a factor. A negative factor makes the optimizer climb."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.factor, None


class SoftTargetsAtTemperature(torch.autograd.Function):
    """KL(teacher || student) at a temperature that gets a gradient too; T**2 times the mean over rows ``[N, C]``.

    In float64 where the device has it: the temperature's gradient is a small difference of large numbers, and at
    T = 16 float32 leaves only one or two digits of it. The gradients are written out, which makes one saved matrix and
    no second pass: together faster than float32 through autograd.
    """

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, temperature: Tensor) -> Tensor:
        exact = student.dtype if student.device.type == "mps" else torch.float64
        scale = temperature.to(exact)
        rows = student.shape[0]
        soft_student, soft_teacher = student.to(exact) / scale, teacher.to(exact) / scale
        student_log_probs = F.log_softmax(soft_student, dim=1)
        teacher_log_probs = F.log_softmax(soft_teacher, dim=1)
        teacher_probs = teacher_log_probs.exp()
        log_ratio = teacher_log_probs - student_log_probs
        difference = student_log_probs.exp_() - teacher_probs
        divergence = (teacher_probs * log_ratio).sum(dim=1, keepdim=True)
        # Minus T times the divergence's slope in T: what the change of both distributions adds to it.
        moved = teacher_probs * (log_ratio - divergence)
        slope = torch.sum(difference * soft_student) + torch.sum(moved * soft_teacher)
        total = divergence.sum()
        ctx.save_for_backward(
            (difference * (scale / rows)).to(student.dtype),
            ((2 * total - slope) * scale / rows).to(temperature.dtype),
        )
        return (total * scale.square() / rows).to(student.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, Tensor]:
        student_gradient, temperature_gradient = ctx.saved_tensors
        return gradients[0] * student_gradient, None, gradients[0] * temperature_gradient


def reversal_at(progress: float, warmup: float) -> float:
    """The factor of the gradient: from 0 to -1 along half a cosine over the first ``warmup`` of the run, then -1.

    Example:
        >>> reversal_at(0.0, 0.1), round(reversal_at(0.05, 0.1), 6), reversal_at(0.5, 0.1)
        (0.0, -0.5, -1.0)
    """
    share = 1.0 if progress >= warmup else progress / warmup
    return (math.cos(math.pi * share) - 1) / 2


class CTKDLoss(nn.Module):
    """Soft targets at a trained temperature that the student learns against: a mean over samples, T**2 inside.

    ``T = start + span * sigmoid(parameter)``, one temperature for all samples. Its gradient is reversed, so while the
    student makes the loss smaller the temperature makes it larger; ``progress`` drives how strongly.

    Args:
        start: The lowest temperature, above 0.
        span: How far it can rise, above 0.
        initial: The parameter's first value; 1.0 gives T = 15.6 with the defaults.
        warmup: Share of the run over which the reversal grows to full strength: 10 of 240 epochs on CIFAR-100.
        standardize: Standardise both sides' logits first (https://arxiv.org/abs/2403.01427).

    Raises:
        ValueError: If ``start`` or ``span`` is not above 0 or ``warmup`` not in [0, 1]; in the call, if shapes differ.

    Example:
        >>> CTKDLoss()(torch.eye(3), torch.eye(3).flip(0)).detach()
        tensor(0.2245)
    """

    def __init__(
        self,
        start: float = 1.0,
        span: float = 20.0,
        initial: float = 1.0,
        warmup: float = 10 / 240,
        standardize: bool = False,
    ) -> None:
        super().__init__()
        check_positive("start", start)
        check_positive("span", span)
        check_fraction("warmup", warmup)
        self.start = start
        self.span = span
        self.warmup = warmup
        self.standardize = standardize
        self.raw_temperature = nn.Parameter(torch.tensor(float(initial)))

    @property
    def temperature(self) -> Tensor:
        """The present temperature, a scalar tensor without gradient."""
        return self._temperature(at_least_fp32(self.raw_temperature.detach()))

    def _temperature(self, raw: Tensor) -> Tensor:
        return self.start + self.span * raw.sigmoid()

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, *, progress: float = 0.0) -> Tensor:
        """The loss.

        Args:
            student_logits: ``[B, C, ...]``; with the temperature all that receives a gradient.
            teacher_logits: Same shape.
            progress: Share of the run that is over, in [0, 1].
        """
        student, teacher = lift_pair(student_logits, teacher_logits)
        if self.standardize:
            student, teacher = standardize_logits(student), standardize_logits(teacher)
        factor = reversal_at(progress, self.warmup)
        temperature = self._temperature(ScaleGradient.apply(at_least_fp32(self.raw_temperature), factor))
        loss: Tensor = SoftTargetsAtTemperature.apply(as_matrix(student), as_matrix(teacher), temperature)
        return loss

    def extra_repr(self) -> str:
        return f"start={self.start}, span={self.span}, warmup={self.warmup}, standardize={self.standardize}"
