"""A network that never changes, whatever anyone calls."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lightning_distill.dry_run import dry_run, map_tensors
from lightning_distill.teachers.acceleration import FELL_BACK, Acceleration, ForwardCopy
from lightning_distill.teachers.class_map import ClassMap
from lightning_distill.teachers.own_input import Numbers, OwnInput
from lightning_distill.teachers.state import state_of
from lightning_distill.types import Batch, as_logits, batch_size_of

LOG = logging.getLogger(__name__)


class FrozenTeacher(nn.Module):
    """A trained network that is only asked: always in eval mode, never trained, never copied.

    * ``train()`` has no effect, and a forward pass puts back whatever was switched to train mode behind its back, so
      dropout stays off and BatchNorm statistics stay as they are, bit for bit.
    * ``requires_grad_()`` has no effect, and the forward pass builds no graph.
    * ``copy.deepcopy`` returns the teacher itself: averaged copies of a student share one teacher.
    * What runs may be a cheaper copy that is derived from it: BatchNorm folded, channels last, in another precision,
      compiled. ``model`` itself is never changed; it runs as it is while anybody has a hook on one of its layers.
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
        fold_batchnorm: Make BatchNorm part of the layer before it, where the answers stay the same within 5e-6 (of the
            largest logit, in float32); ``False`` keeps every bit. See
            :class:`~lightning_distill.teachers.acceleration.Acceleration` for this and the next three.
        memory_format: ``"auto"`` (channels last for convolutional networks, if ``fold_batchnorm``),
            ``"channels_last"`` or ``"preserve"``.
        precision: ``"inherit"`` follows the Trainer; ``"bf16"``, ``"fp16"`` or ``"fp32"`` whatever that does.
        compile: ``torch.compile`` what runs; a mapping holds arguments for that.
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
        fold_batchnorm: bool = True,
        memory_format: str = "auto",
        precision: str = "inherit",
        compile: bool | Mapping[str, Any] = False,
        example_input: Any = None,
    ) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            raise TypeError(f"Expected `teacher` to be an nn.Module, but got {type(model).__name__}.")
        self.model = model
        self.example_input = example_input
        self._own_input = OwnInput(mean, std, data_mean, data_std, size)
        self._class_map = None if class_map is None else ClassMap(class_map, class_dim, multi_label)
        self._acceleration = Acceleration(fold_batchnorm, memory_format, precision, compile)
        self._copy: tuple[tuple[int, ...], ForwardCopy] | None = None
        self._applied: dict[str, str] = {}
        self._example: Any = None
        self._said = False
        self.requires_grad_(False)
        self.train()

    @property
    def applied(self) -> dict[str, str]:
        """What the last pass did to be cheaper: plain values under the names of the arguments; empty before it."""
        return dict(self._applied)

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
        return self._answer(named or inputs, own)

    def answer(self, batch: Batch, epoch: int | None = None) -> Any:
        """The raw output for a batch: from its ``teacher_input``, as it is, or from its inputs.

        Args:
            batch: What the data loader gave.
            epoch: The epoch of a training batch, from 0; ``None`` for any other batch. For teachers that look their
                answers up.
        """
        return self(batch.inputs) if batch.teacher_input is None else self(batch.teacher_input, own=True)

    def answer_example(self, example_input: Any) -> Any:
        """The raw output for as many samples of the teacher's own example, or for the student's where it has none.

        The original network gives it: device and precision may not be final yet.
        """
        own = self.example_input is not None
        if own:
            size = batch_size_of(example_input)
            example_input = map_tensors(self.example_input, lambda t: t[torch.arange(size, device=t.device) % len(t)])
        return dry_run(self, example_input, lambda _, inputs: self._answer(inputs, own, derived=False))

    def recall(self, paths: Sequence[str]) -> dict[str, Tensor] | None:
        """Features by path that came with the last answer; ``None`` where they are to be tapped, as here."""
        return None

    @property
    def options(self) -> dict[str, Any]:
        """What decides an answer beside the network: plain values, for fingerprints."""
        own, mapped = self._own_input, self._class_map
        classes = None if mapped is None else (mapped.groups, mapped.class_dim, mapped.multi_label)
        precision = self._acceleration.precision
        return {"size": own.size, "shift": own.shift, "scale": own.scale, "class_map": classes, "precision": precision}

    def _answer(self, inputs: Any, own: bool, derived: bool = True) -> Any:
        # Not inference_mode: losses such as the mean squared error save the teacher's side for their backward pass,
        # and tensors made in inference mode cannot be saved.
        with torch.no_grad():
            inputs = inputs if own else self._own_input(inputs)
            output = self._forward_copy(inputs, derived)(inputs)
            return output if self._class_map is None else self._class_map(as_logits(output, "teacher"))

    def _forward_copy(self, inputs: Any, derived: bool) -> ForwardCopy:
        """What answers: a copy derived from the network as it is now, or itself where its inner layers are read."""
        if torch.compiler.is_compiling():
            return self._acceleration.original(self.model)
        state = state_of(self.model)
        if state.training:
            self.train()
        if self._example is None and self._acceleration.fold_batchnorm:
            # Once, so that a run that is resumed decides by the same samples.
            self._example = map_tensors(inputs, lambda t: t[:2].detach().cpu().clone())
        if state.hooked or not derived:
            copy = self._acceleration.original(self.model)
        elif self._copy is not None and self._copy[0] == state.stamp:
            copy = self._copy[1]
        else:
            copy = self._derive(state.stamp)
        self._applied = copy.applied
        return copy

    def _derive(self, stamp: tuple[int, ...]) -> ForwardCopy:
        self._copy = None  # first, so that its memory is free
        copy = self._acceleration.derive(self.model, self._example)
        reason = copy.applied["fold_batchnorm"]
        if reason.startswith(FELL_BACK) and not self._said:
            self._said = True
            LOG.warning("The teacher's BatchNorms are not folded: %s. It runs as it is.", reason)
        self._copy = stamp, copy
        return copy

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """Follow moves and casts; with a precision of its own, moves only."""
        self._copy = None
        only_move = self._acceleration.dtype is not None
        return super()._apply(partial(_moved, fn) if only_move else fn, recurse)  # type: ignore[no-untyped-call]

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenTeacher:
        return self

    def __getstate__(self) -> dict[str, Any]:
        # Derived again where it arrives: compiled code cannot travel, and the rest need not.
        return {name: None if name == "_copy" else value for name, value in self.__dict__.items()}


def _moved(fn: Callable[[Tensor], Tensor], tensor: Tensor) -> Tensor:
    """``fn(tensor)`` in the precision of ``tensor``, not rounded on the way."""
    moved = fn(tensor)
    return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)
