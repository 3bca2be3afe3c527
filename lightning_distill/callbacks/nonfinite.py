"""Notice NaN and infinity in losses and gradients before they are in the weights."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_distill.callbacks.best_and_last import BestAndLast
from lightning_distill.checks import check_choice
from lightning_distill.engine import pl
from lightning_distill.processes import from_all
from lightning_distill.types import as_batch

ACTIONS = ("raise", "skip")
SHOWN = 8  # sample ids and names of parameters in a message
DELAY = 2  # steps after which several processes read an answer of their GPUs: all of them raise at the same step


class Step(NamedTuple):
    """What a message about a step needs: names of what was looked at, the epoch, the batch, and its samples' ids."""

    names: tuple[str, ...]
    epoch: int
    batch: int
    sample_ids: Tensor | None


class NonFinite(pl.callbacks.Callback):
    """Stops at a loss or a gradient that is NaN or infinite, or leaves the step out.

    Looks at the losses that the module keeps in ``latest_losses`` (a distiller's, by name; of other modules the total)
    and at the norm of the gradient, before the optimizer's step. On a CPU the weights are as they were before. On a GPU
    nothing waits: the answer is read a step or so later, and always before a checkpoint is written, so that
    checkpoints hold finite weights. With ``"skip"`` the device is waited for once a step.

    All processes of a run decide alike, at the same step, and name the samples of those that had the fault. With
    ``16-mixed`` precision, gradients that are too large are the business of the loss scale, which leaves such steps out
    by itself; there the losses count alone. A teacher that returns NaN is
    an error in any case: see :class:`~lightning_distill.teachers.guard.FiniteGuard`.

    Args:
        on_nonfinite: ``"raise"``, or ``"skip"``: the optimizer, the network's buffers (BatchNorm's statistics) and the
            epoch's mean losses stay as they were, and training goes on.
        max_skipped: With ``"skip"``, how many steps of the run may be left out.

    Raises:
        ValueError: During training, with the losses, the batch, its sample ids and the last checkpoint.

    Attributes:
        skipped: How many steps were left out so far; logged as ``train/skipped_steps``.
    """

    def __init__(self, on_nonfinite: str = "raise", max_skipped: int = 10) -> None:
        super().__init__()
        check_choice("on_nonfinite", on_nonfinite, ACTIONS)
        if isinstance(max_skipped, bool) or not isinstance(max_skipped, int) or max_skipped < 0:
            raise ValueError(f"Expected `max_skipped` to be a whole number of at least 0, but got {max_skipped!r}.")
        self.on_nonfinite = on_nonfinite
        self.max_skipped = max_skipped
        self.skipped = 0
        self._pending: list[tuple[Tensor, Any, Step]] = []
        self._loss: Tensor | None = None
        self._batch: Any = None
        self._buffers: list[Tensor] = []
        self._sums: Any = None

    def state_dict(self) -> dict[str, int]:
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.skipped = state_dict["skipped"]

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._batch = batch
        if self.on_nonfinite == "skip":
            self._buffers = [buffer.clone() for buffer in pl_module.buffers()]
            means = getattr(pl_module, "_means", None)
            self._sums = None if means is None else means["train"].state_dict()

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        self._loss = loss.detach()

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        losses = getattr(pl_module, "latest_losses", None) or {"loss": self._loss}
        values = {name: loss for name, loss in losses.items() if loss is not None}
        if getattr(trainer.precision_plugin, "scaler", None) is None:
            values["gradient"] = gradient_norm(optimizer)
        own = torch.stack([~value.detach().isfinite().all() for value in values.values()]).to(torch.int8)
        bad = trainer.strategy.reduce(own.clone(), reduce_op="max") if trainer.world_size > 1 else own
        bad = torch.stack([bad, own])
        step = Step(tuple(values), trainer.current_epoch, trainer.fit_loop.batch_idx, self._sample_ids(pl_module))
        if self.on_nonfinite == "skip":
            self._skip_if(bad, step, trainer, pl_module, optimizer)
        else:
            self._look_later(bad, step)
            self._read(trainer, pl_module, wait=False)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._read(trainer, pl_module, wait=True)
        if self.on_nonfinite == "skip":
            pl_module.log("train/skipped_steps", float(self.skipped), sync_dist=True)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._read(trainer, pl_module, wait=True)

    def _skip_if(
        self, bad: Tensor, step: Step, trainer: pl.Trainer, module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        if not bool(bad.any()):
            return
        self.skipped += 1
        if self.skipped > self.max_skipped:
            raise ValueError(
                f"Expected at most `max_skipped` = {self.max_skipped} steps to be left out, but this is one more. "
                + message(bad, step, trainer, module)
            )
        optimizer.zero_grad(set_to_none=True)  # parameters without a gradient are left alone
        with torch.no_grad():
            for buffer, before in zip(module.buffers(), self._buffers, strict=True):
                buffer.copy_(before)
        if self._sums is not None:
            getattr(module, "_means")["train"].load_state_dict(self._sums, module.device)  # noqa: B009

    def _look_later(self, bad: Tensor, step: Step) -> None:
        if bad.device.type != "cuda":
            self._pending.append((bad, None, step))
            return
        flags = torch.empty(bad.shape, dtype=bad.dtype, pin_memory=True)
        flags.copy_(bad, non_blocking=True)
        event: Any = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        self._pending.append((flags, event, step))

    def _read(self, trainer: pl.Trainer, module: pl.LightningModule, wait: bool) -> None:
        while self._pending and (wait or self._has_come(trainer.world_size)):
            flags, event, step = self._pending.pop(0)
            if event is not None:
                event.synchronize()
            if bool(flags.any()):
                self._pending.clear()
                raise ValueError(message(flags, step, trainer, module))

    def _has_come(self, processes: int) -> bool:
        event = self._pending[0][1]
        return event is None or (event.query() if processes == 1 else len(self._pending) > DELAY)

    def _sample_ids(self, module: pl.LightningModule) -> Tensor | None:
        return getattr(module, "unpack_batch", as_batch)(self._batch).sample_ids


def gradient_norm(optimizer: torch.optim.Optimizer) -> Tensor:
    """The norm of all gradients of an optimizer's parameters: NaN or infinite if one of them is."""
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    if not gradients:
        return torch.zeros(())
    norm = torch.nn.utils.get_total_norm(gradients)
    whole: Tensor = norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # a sharded one
    return whole


def message(bad: Tensor, step: Step, trainer: pl.Trainer, module: nn.Module) -> str:
    """What to tell the user about a step. All processes call this together.

    Args:
        bad: ``[2, names]``: what is not finite in any process, and what is not in this one.
        step: The step.
        trainer: Its callbacks know the last checkpoint.
        module: Its parameters may be spoilt by now.
    """
    in_any, own = bad.tolist()
    names = [f"`{name}`" for name, is_bad in zip(step.names, in_any, strict=True) if is_bad]
    spoilt = [name for name, p in module.named_parameters() if not bool(p.detach().isfinite().all())]
    already = f" The network holds NaN or infinity by now: {_few(spoilt)}." if spoilt else ""
    keeper = next((c for c in getattr(trainer, "callbacks", []) if isinstance(c, BestAndLast)), None)
    last = f" The last checkpoint before it is {keeper.last}." if keeper is not None and keeper.last.exists() else ""
    return (
        f"Expected finite losses and gradients, but got NaN or infinity in {', '.join(names)} for batch {step.batch} "
        f"of epoch {step.epoch}{_samples(own, step)}.{already}{last} Lower the learning rate, clip gradients "
        "(trainer.gradient_clip_val=1), or leave such steps out: on_nonfinite=skip"
    )


def _samples(own: list[int], step: Step) -> str:
    """Ids of the batch's samples; of several processes, those of the ones whose losses were not finite."""
    ids = None if step.sample_ids is None else step.sample_ids.tolist()
    losses = [is_bad for name, is_bad in zip(step.names, own, strict=True) if name != "gradient"]
    found = dict(enumerate(from_all((any(losses), ids))))
    # A gradient is the same in all of them.
    faulty = {rank: ids for rank, (is_bad, ids) in found.items() if is_bad or not any(bad for bad, _ in found.values())}
    of_process = [
        ("" if len(found) == 1 else f"process {rank}: ") + f"sample ids {_few(ids)}"
        for rank, ids in faulty.items()
        if ids is not None
    ]
    return f" ({'; '.join(of_process)})" if of_process else ""


def _few(items: list[Any]) -> str:
    return ", ".join(map(str, items[:SHOWN])) + (", ..." if len(items) > SHOWN else "")
