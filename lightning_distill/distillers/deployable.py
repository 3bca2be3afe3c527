"""The student as it is shipped: one tensor of logits, nothing of the training around it.

A mapping of inputs is given as one argument, as programs want it, or by keyword, as other networks take it.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from lightning_distill.models.heads import read_heads
from lightning_distill.types import as_logits, call_model


class LogitsOnly(nn.Module):
    """A network whose output is reduced to its logits ``[B, C]``."""

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.student = student

    def forward(self, inputs: Any = None, **named: Any) -> Tensor:
        return as_logits(call_model(self.student, named or inputs), "student")


class AveragedHeads(nn.Module):
    """A two-head network that returns the mean of its heads ``[B, C]``."""

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.student = student

    def forward(self, inputs: Any = None, **named: Any) -> Tensor:
        return read_heads(self.student, named or inputs).average


class ClassHead(nn.Module):
    """A two-head network that returns its class head alone ``[B, C]``."""

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.student = student

    def forward(self, inputs: Any = None, **named: Any) -> Tensor:
        return read_heads(self.student, named or inputs).class_logits
