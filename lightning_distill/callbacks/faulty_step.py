"""Which step was not finite, and what to tell the user about it."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_distill.callbacks.best_and_last import BestAndLast
from lightning_distill.engine import pl
from lightning_distill.processes import from_all

SHOWN = 8  # sample ids and names of parameters in a message


class Look(NamedTuple):
    """What was found in one batch: which losses are not finite, and which batch it is."""

    bad: dict[str, Tensor]
    batch: int
    sample_ids: Tensor | None


class Step(NamedTuple):
    """What a message about a step needs: names of what was looked at, the epoch, and the batches that it adds up."""

    names: tuple[str, ...]
    epoch: int
    batches: tuple[int, ...]
    sample_ids: tuple[Tensor | None, ...]


class Flags(NamedTuple):
    """What is not finite in a step.

    Attributes:
        in_any: ``[names]``: in any process.
        own: ``[names]``: in this process.
        looks: ``[batches]``: batches of this process with a loss that is not.
    """

    in_any: list[int]
    own: list[int]
    looks: list[int]


def spoilt_parameters(module: nn.Module) -> list[str]:
    """Names of the parameters that hold NaN or infinity; of a parameter in shards, this process's is looked at."""
    named = [(name, p) for name, p in module.named_parameters() if not torch.nn.parameter.is_lazy(p)]
    if not named:
        return []
    whole = [getattr(p, "to_local", lambda p=p: p)().detach() for _, p in named]
    flags = torch.stack([~values.isfinite().all() for values in whole]).tolist()
    return [name for (name, _), bad in zip(named, flags, strict=True) if bad]


def last_checkpoint(trainer: pl.Trainer) -> str:
    """A sentence that names it, if there is one."""
    keeper = next((c for c in getattr(trainer, "callbacks", []) if isinstance(c, BestAndLast)), None)
    known = keeper is not None and keeper.last.exists()
    return f" The last checkpoint before it is {keeper.last}." if keeper is not None and known else ""


def flags_of(bad: Tensor, step: Step) -> Flags:
    """The parts of what was read from the device in one go."""
    values, count = bad.tolist(), len(step.names)
    return Flags(values[:count], values[count : 2 * count], values[2 * count :])


def message(bad: Flags, step: Step, trainer: pl.Trainer, module: nn.Module) -> str:
    """What to tell the user about a step. All processes call this together.

    Args:
        bad: What is not finite.
        step: The step.
        trainer: Its callbacks know the last checkpoint.
        module: Its parameters may be spoilt by now.
    """
    names = [f"`{name}`" for name, is_bad in zip(step.names, bad.in_any, strict=True) if is_bad]
    spoilt = spoilt_parameters(module)
    already = f" The network holds NaN or infinity by now: {few(spoilt)}." if spoilt else ""
    return (
        f"Expected finite losses and gradients, but got NaN or infinity in {', '.join(names)} for "
        f"{_place(bad, step)}.{already}{last_checkpoint(trainer)} Lower the learning rate, clip gradients "
        "(trainer.gradient_clip_val=1), or leave such steps out: on_nonfinite=skip"
    )


def _place(bad: Flags, step: Step) -> str:
    """The batches and their samples' ids; of several processes, those of the ones whose losses were not finite."""
    # Of a gradient alone nobody can tell which of the batches made it, nor which process.
    own = [index for index, is_bad in enumerate(bad.looks) if is_bad] or list(range(len(bad.looks)))
    known = [tensor for index in own if (tensor := step.sample_ids[index]) is not None]
    ids = torch.cat([tensor.reshape(-1) for tensor in known]).tolist() if known else None
    found = from_all((any(bad.looks), ids, [step.batches[index] for index in own]))
    some = any(is_bad for is_bad, _, _ in found)
    faulty = {rank: rest for rank, (is_bad, *rest) in enumerate(found) if is_bad or not some}
    of_process = [
        ("" if len(found) == 1 else f"process {rank}: ") + f"sample ids {few(ids)}"
        for rank, (ids, _) in faulty.items()
        if ids is not None
    ]
    batches = sorted({batch for _, own in faulty.values() for batch in own})
    said = f"batch{'es' if len(batches) > 1 else ''} {few(batches)} of epoch {step.epoch}"
    return said + (f" ({'; '.join(of_process)})" if of_process else "")


def few(items: list[Any]) -> str:
    return ", ".join(map(str, items[:SHOWN])) + (", ..." if len(items) > SHOWN else "")
