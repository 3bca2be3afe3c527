"""Read the two heads of a DeiT-style student (Touvron et al., 2021, https://arxiv.org/abs/2012.12877)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_distill.types import call_model, describe

# Attributes of a network that computes its heads apart and returns their mean: timm's distilled transformers.
HEAD_MODULES = ("head", "head_dist")
# Fields of an output that names both heads: transformers' `DeiTForImageClassificationWithTeacher`, and the plain names.
HEAD_FIELDS = (("cls_logits", "distillation_logits"), ("class_logits", "distillation_logits"))


class Heads(NamedTuple):
    """What the two heads say: logits ``[B, C]`` each."""

    class_logits: Tensor
    distillation_logits: Tensor

    @property
    def average(self) -> Tensor:
        """The mean of both: what is deployed."""
        return (self.class_logits + self.distillation_logits) / 2


def read_heads(student: nn.Module, inputs: Any) -> Heads:
    """Run ``student`` once and return what both of its heads say, in train and in eval mode alike.

    Args:
        student: A network that returns ``(class_logits, distillation_logits)``, a mapping or an object that names them,
            or one with the modules ``head`` and ``head_dist`` (timm's ``deit_*_distilled_*``, as they are; the mean of
            the two is that network's own eval output, bit for bit).
        inputs: A tensor ``[B, ...]`` or a mapping of keyword arguments.

    Raises:
        ValueError: If the student gives one output only.

    Example:
        >>> class TwoHeads(nn.Module):
        ...     def forward(self, x):
        ...         return x, x + 1
        >>> read_heads(TwoHeads(), torch.zeros(1, 2)).average
        tensor([[0.5000, 0.5000]])
    """
    if all(isinstance(getattr(student, name, None), nn.Module) for name in HEAD_MODULES):
        return _read_head_modules(student, inputs)
    output = call_model(student, inputs)
    for fields in HEAD_FIELDS:
        if isinstance(output, Mapping) and all(name in output for name in fields):
            return Heads(*(output[name] for name in fields))
        if all(hasattr(output, name) for name in fields):
            return Heads(*(getattr(output, name) for name in fields))
    if isinstance(output, (tuple, list)) and len(output) >= 2 and all(isinstance(o, Tensor) for o in output[:2]):
        return Heads(output[0], output[1])
    raise ValueError(
        "Expected `student` to give two outputs, (class_logits, distillation_logits), but got "
        f"{describe(output)}. Wrap its backbone in `lightning_distill.models.TwoHeadStudent`, or use `Distiller`."
    )


def _read_head_modules(student: nn.Module, inputs: Any) -> Heads:
    seen: dict[str, Tensor] = {}
    hooks = [getattr(student, name).register_forward_hook(partial(_keep, seen, name)) for name in HEAD_MODULES]
    try:
        call_model(student, inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return Heads(*(seen[name] for name in HEAD_MODULES))


def _keep(seen: dict[str, Tensor], name: str, module: nn.Module, args: Any, output: Tensor) -> None:
    seen[name] = output


def distillation_head_parameters(student: nn.Module, inputs: Any) -> list[nn.Parameter]:
    """The trainable parameters that the class logits do not depend on.

    Found by differentiating the class logits, so that it holds for any architecture.

    Args:
        student: See :func:`read_heads`. Call it in a mode that leaves no trace.
        inputs: One example, on the student's device.
    """
    parameters = [p for p in student.parameters() if p.requires_grad]
    class_logits = read_heads(student, inputs).class_logits
    gradients = torch.autograd.grad(class_logits.sum(), parameters, allow_unused=True)
    return [p for p, gradient in zip(parameters, gradients, strict=True) if gradient is None]
