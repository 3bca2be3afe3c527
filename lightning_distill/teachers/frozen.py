"""A network that never changes, whatever anyone calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_distill.dry_run import dry_run, map_tensors
from lightning_distill.teachers.class_map import ClassMap
from lightning_distill.teachers.own_input import Numbers, OwnInput
from lightning_distill.types import Batch, as_logits, batch_size_of, call_model


class FrozenTeacher(nn.Module):
    """A trained network that is only asked: always in eval mode, never trained, never copied.

    * ``train()`` has no effect, and a forward pass puts back whatever was switched to train mode behind its back, so
      dropout stays off and BatchNorm statistics stay as they are, bit for bit.
    * ``requires_grad_()`` has no effect, and the forward pass builds no graph.
    * ``copy.deepcopy`` returns the teacher itself: averaged copies of a student share one teacher.
    * It may differ from the student: in what it sees (``mean``, ``std``, ``size``), and in its classes (``class_map``).

    Args:
        model: The network. It is used as it is, not copied: its parameters stop requiring gradients.
        mean: The mean that the teacher's images are normalised with, a number or one per channel; ``None`` for images
            as the student gets them.
        std: The standard deviation that they are normalised with.
        data_mean: The mean that the student's images have been normalised with, which is undone first; ``None`` for
            images that were not.
        data_std: The standard deviation that they have been normalised with.
        size: The teacher's resolution, ``(height, width)``, or one number for the shorter edge: bilinear,
            antialiased, before the normalisation. ``None`` for the student's.
        class_map: The teacher's classes as the student's, a list with the student class of every teacher class (-1 for
            none), or a mapping from student class to teacher classes. See
            :class:`~lightning_distill.teachers.class_map.ClassMap`.
        class_dim: The dimension of the output that holds the classes, for ``class_map``.
        multi_label: The outputs are yes-or-no questions of their own (sigmoids), for ``class_map``.
        example_input: A small batch of the teacher's own inputs, where batches carry a ``teacher_input`` that differs
            in kind from the student's input: shapes are checked with it.

    Raises:
        TypeError: If ``model`` is not an ``nn.Module``.
        ValueError: If an argument is out of range.

    Attributes:
        model: The original network.

    Example:
        >>> teacher = FrozenTeacher(nn.Sequential(nn.Linear(4, 3), nn.Dropout()), class_map=[1, 0, -1])
        >>> teacher.train().model.training, teacher(torch.zeros(2, 4)).requires_grad, teacher(torch.zeros(2, 4)).shape
        (False, False, torch.Size([2, 2]))
    """

    model: nn.Module

    def __init__(
        self,
        model: nn.Module,
        *,
        mean: Numbers | None = None,
        std: Numbers | None = None,
        data_mean: Numbers | None = None,
        data_std: Numbers | None = None,
        size: int | Sequence[int] | None = None,
        class_map: Sequence[int] | Mapping[int, int | Sequence[int]] | Tensor | None = None,
        class_dim: int = 1,
        multi_label: bool = False,
        example_input: Any = None,
    ) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            raise TypeError(f"Expected `teacher` to be an nn.Module, but got {type(model).__name__}.")
        self.model = model
        self.example_input = example_input
        self._own_input = OwnInput(mean, std, data_mean, data_std, size)
        self._class_map = None if class_map is None else ClassMap(class_map, class_dim, multi_label)
        self.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> FrozenTeacher:
        """Stay in eval mode; ``mode`` is ignored."""
        return super().train(False)

    def requires_grad_(self, requires_grad: bool = True) -> FrozenTeacher:
        """Stay without gradients; ``requires_grad`` is ignored."""
        return super().requires_grad_(False)

    def forward(self, inputs: Any = None, /, own: bool = False, **named: Any) -> Any:
        """The raw output of the network; with ``class_map``, the student's logits ``[B, K, ...]``.

        Args:
            inputs: A tensor, or a mapping of keyword arguments, as the student gets it.
            own: The inputs are the teacher's own: they are neither resized nor normalised.
            named: The same keyword arguments, given as such.
        """
        inputs = named or inputs
        if any(module.training for module in self.model.modules()):
            self.train()
        # Not inference_mode: losses such as the mean squared error save the teacher's side for their backward pass,
        # and tensors made in inference mode cannot be saved.
        with torch.no_grad():
            inputs = inputs if own else self._own_input(inputs)
            output = call_model(self.model, self._in_own_precision(inputs))
            return output if self._class_map is None else self._class_map(as_logits(output, "teacher"))

    def answer(self, batch: Batch, epoch: int | None = None) -> Any:
        """The raw output for a batch: from its ``teacher_input``, as it is, or from its inputs.

        Args:
            batch: What the data loader gave.
            epoch: The epoch of a training batch, from 0; ``None`` for any other batch. For teachers that look their
                answers up.
        """
        return self(batch.inputs) if batch.teacher_input is None else self(batch.teacher_input, own=True)

    def answer_example(self, example_input: Any) -> Any:
        """The raw output for as many samples of the teacher's own example, or for the student's where it has none."""
        if self.example_input is None:
            return dry_run(self, example_input, lambda teacher, inputs: teacher(inputs))
        size = batch_size_of(example_input)
        own = map_tensors(self.example_input, lambda t: t[torch.arange(size, device=t.device) % len(t)])
        return dry_run(self, own, lambda teacher, inputs: teacher(inputs, own=True))

    def recall(self, paths: Sequence[str]) -> dict[str, Tensor] | None:
        """Features by path that came with the last answer; ``None`` where they are to be tapped, as here."""
        return None

    @property
    def options(self) -> dict[str, Any]:
        """What decides an answer beside the network: plain values, for fingerprints."""
        own, mapped = self._own_input, self._class_map
        classes = None if mapped is None else (mapped.groups, mapped.class_dim, mapped.multi_label)
        return {"size": own.size, "shift": own.shift, "scale": own.scale, "class_map": classes}

    def _in_own_precision(self, inputs: Any) -> Any:
        """Floating-point inputs in the precision of the parameters: a float64 student may ask a float32 teacher."""
        parameter = next((p for p in self.model.parameters() if p.is_floating_point()), None)
        if parameter is None or torch.is_autocast_enabled(parameter.device.type):
            return inputs
        return map_tensors(inputs, lambda t: t.to(parameter.dtype) if t.is_floating_point() else t)

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenTeacher:
        return self
