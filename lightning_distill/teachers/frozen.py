"""A network that never changes, whatever anyone calls."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lightning_distill.dry_run import map_tensors
from lightning_distill.types import Batch, call_model


class FrozenTeacher(nn.Module):
    """A trained network that is only asked: always in eval mode, never trained, never copied.

    * ``train()`` has no effect, and a forward pass puts back whatever was switched to train mode behind its back, so
      dropout stays off and BatchNorm statistics stay as they are, bit for bit.
    * ``requires_grad_()`` has no effect, and the forward pass builds no graph.
    * ``copy.deepcopy`` returns the teacher itself: averaged copies of a student share one teacher.

    Args:
        model: The network. It is used as it is, not copied: its parameters stop requiring gradients.

    Raises:
        TypeError: If ``model`` is not an ``nn.Module``.

    Attributes:
        model: The original network.

    Example:
        >>> teacher = FrozenTeacher(nn.Sequential(nn.Linear(4, 3), nn.Dropout()))
        >>> teacher.train().model.training, teacher(torch.zeros(2, 4)).requires_grad
        (False, False)
    """

    model: nn.Module

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            raise TypeError(f"Expected `teacher` to be an nn.Module, but got {type(model).__name__}.")
        self.model = model
        self.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> FrozenTeacher:
        """Stay in eval mode; ``mode`` is ignored."""
        return super().train(False)

    def requires_grad_(self, requires_grad: bool = True) -> FrozenTeacher:
        """Stay without gradients; ``requires_grad`` is ignored."""
        return super().requires_grad_(False)

    def forward(self, inputs: Any) -> Any:
        """The raw output of the network for a tensor or for a mapping of keyword arguments."""
        if any(module.training for module in self.model.modules()):
            self.train()
        # Not inference_mode: losses such as the mean squared error save the teacher's side for their backward pass,
        # and tensors made in inference mode cannot be saved.
        with torch.no_grad():
            return call_model(self.model, self._in_own_precision(inputs))

    def answer(self, batch: Batch, epoch: int = 0) -> Any:
        """The raw output for a batch, from its ``teacher_input`` where it has one.

        Args:
            batch: What the data loader gave.
            epoch: The epoch that it belongs to, from 0: for teachers that look their answers up.
        """
        return self(batch.inputs if batch.teacher_input is None else batch.teacher_input)

    def _in_own_precision(self, inputs: Any) -> Any:
        """Floating-point inputs in the precision of the parameters: a float64 student may ask a float32 teacher."""
        parameter = next((p for p in self.model.parameters() if p.is_floating_point()), None)
        if parameter is None or torch.is_autocast_enabled(parameter.device.type):
            return inputs
        return map_tensors(inputs, lambda t: t.to(parameter.dtype) if t.is_floating_point() else t)

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenTeacher:
        return self
