"""Parameter groups: what weight decay leaves alone, and what learns at a rate of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from lightning_distill.checks import check_choice, check_positive

NORMS_AND_BIASES = "norms_and_biases"
STUDENT = "student"
Groups = list[dict[str, Any]]


def no_decay_names(model: nn.Module, no_decay: str | Sequence[str] | None) -> set[str]:
    """Names of the parameters that weight decay should not touch.

    Args:
        model: Any network.
        no_decay: ``"norms_and_biases"`` for biases, the parameters of normalisation layers, everything with one
            dimension or none (layer scales, temperatures), and what a network lists in ``no_weight_decay()``, as timm's
            do for class tokens and position embeddings. Or globs of parameter names: ``["*.bias", "*pos_embed"]``.
            ``None`` for none.

    Raises:
        ValueError: If a word is another, or a glob fits no parameter.

    Example:
        >>> sorted(no_decay_names(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), "norms_and_biases"))
        ['0.bias', '1.bias', '1.weight']
    """
    if no_decay is None:
        return set()
    names = [name for name, _ in model.named_parameters()]
    if isinstance(no_decay, str):
        check_choice("no_decay", no_decay, (NORMS_AND_BIASES, None))
        return set(_norms_and_biases(model)) & set(names)
    found = {pattern: [name for name in names if fnmatchcase(name, pattern)] for pattern in no_decay}
    for pattern, fits in found.items():
        if not fits:
            raise ValueError(
                f"Expected `no_decay` to hold globs of parameter names, but {pattern!r} fits none of "
                f"{', '.join(map(repr, names[:4]))}, ... Use `no_decay='norms_and_biases'` for the usual choice."
            )
    return {name for fits in found.values() for name in fits}


def parameter_groups(
    model: nn.Module, *, no_decay: str | Sequence[str] | None = None, adapter_lr_scale: float = 1.0
) -> Groups:
    """The trainable parameters of a distiller as groups for an optimizer.

    A group that would be empty is left out, and student and adapters share theirs where they learn at the same rate.
    Every group has a ``name``, which Lightning's ``LearningRateMonitor`` shows, and an ``lr_scale`` for
    :func:`build_optimizer`.

    Args:
        model: A module whose student is its ``student``; everything else is what losses and terms bring along.
        no_decay: What has ``weight_decay`` 0; see :func:`no_decay_names`.
        adapter_lr_scale: Learning rate of what losses and terms bring along, as a multiple of the student's.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> model = nn.ModuleDict({"student": nn.Linear(2, 2), "adapter": nn.Linear(2, 3)})
        >>> groups = parameter_groups(model, no_decay="norms_and_biases", adapter_lr_scale=10.0)
        >>> {group["name"]: (group["lr_scale"], group.get("weight_decay")) for group in groups[:2]}
        {'student': (1.0, None), 'student_no_decay': (1.0, 0.0)}
        >>> [group["name"] for group in groups[2:]]
        ['adapters', 'adapters_no_decay']
    """
    check_positive("adapter_lr_scale", adapter_lr_scale)
    spared = no_decay_names(model, no_decay)
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    shares = {"trained": (1.0, trained)}
    if adapter_lr_scale != 1:
        student = [pair for pair in trained if pair[0].startswith(f"{STUDENT}.")]
        adapters = [pair for pair in trained if not pair[0].startswith(f"{STUDENT}.")]
        shares = {STUDENT: (1.0, student), "adapters": (adapter_lr_scale, adapters)}
    groups: Groups = []
    for name, (scale, pairs) in shares.items():
        decayed = [parameter for path, parameter in pairs if path not in spared]
        others = [parameter for path, parameter in pairs if path in spared]
        if decayed:
            groups.append({"params": decayed, "name": name, "lr_scale": scale})
        if others:
            groups.append({"params": others, "name": f"{name}_no_decay", "lr_scale": scale, "weight_decay": 0.0})
    return groups


def build_optimizer(
    factory: Callable[[Any], torch.optim.Optimizer], groups: Groups, lr: float | None = None
) -> torch.optim.Optimizer:
    """The factory's optimizer over ``groups``.

    Args:
        factory: ``params -> optimizer``.
        groups: As :func:`parameter_groups` makes them.
        lr: The learning rate in place of the factory's own.

    Raises:
        ValueError: If a group has no weight decay, but the optimizer knows of none.

    Example:
        >>> groups = [{"params": [nn.Parameter(torch.ones(1))], "name": "adapters", "lr_scale": 10.0}]
        >>> build_optimizer(lambda params: torch.optim.SGD(params, lr=0.5), groups).param_groups[0]["lr"]
        5.0
    """
    if not any(group["params"] for group in groups):
        raise ValueError(
            "Expected something to train, but no parameter of the student, the losses or the terms asks for a "
            "gradient. Freeze less: `student.requires_grad_()`, `freeze`"
        )
    plain = [{key: value for key, value in group.items() if key != "lr_scale"} for group in groups]
    # Where there is nothing to tell apart the factory gets what it always gets: parameters.
    optimizer = factory(plain[0]["params"] if len(plain) == 1 and "weight_decay" not in plain[0] else plain)
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(f"Expected `optimizer` to return an optimizer, but got {type(optimizer).__name__}.")
    if any("weight_decay" in group for group in plain) and "weight_decay" not in optimizer.defaults:
        raise ValueError(
            f"Expected an optimizer with `weight_decay` where `no_decay` is set, but {type(optimizer).__name__} has "
            "none. Leave `no_decay` at None."
        )
    for group, made in zip(groups, optimizer.param_groups, strict=True):
        made["lr"] = (made["lr"] if lr is None else lr) * group["lr_scale"]
    return optimizer


def _norms_and_biases(model: nn.Module) -> Iterator[str]:
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        norm = "norm" in type(module).__name__.lower()
        for name, parameter in module.named_parameters(recurse=False):
            if norm or parameter.ndim <= 1 or name.endswith("bias"):
                yield prefix + name
        declared = getattr(module, "no_weight_decay", None)
        if callable(declared):
            yield from (prefix + name for name in declared())
