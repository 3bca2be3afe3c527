"""Notice NaN and infinity in losses and gradients before they are in the weights."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from lightning_distill.callbacks.faulty_step import (
    Look,
    Step,
    few,
    flags_of,
    last_checkpoint,
    message,
    spoilt_parameters,
)
from lightning_distill.checks import check_choice
from lightning_distill.engine import pl
from lightning_distill.report.console import say
from lightning_distill.teachers.guard import FiniteGuard, TeacherNotFinite
from lightning_distill.types import as_batch

ACTIONS = ("raise", "skip")
DELAY = 2  # steps after which several processes read an answer of their GPUs: all of them raise at the same step


class NonFinite(pl.callbacks.Callback):
    """Stops at a loss or a gradient that is NaN or infinite, or leaves the step out.

    Looks at the losses that the module keeps in ``latest_losses`` (a distiller's, by name; of other modules the total)
    and at the norm of the gradient, before the optimizer's step. On a CPU the weights are as they were before. On a GPU
    nothing waits: the answer is read a step or so later, and always before a checkpoint is written, so that
    checkpoints hold finite weights. With ``"skip"`` the device is waited for once a step.

    All processes of a run decide alike, at the same step, and name the samples of those that had the fault. With
    ``16-mixed`` precision, gradients that are too large are the business of the loss scale, which leaves such steps out
    by itself; there the losses count alone. A teacher that returns NaN is stopped at its answer, before this looks
    (:class:`~lightning_distill.teachers.guard.FiniteGuard`); with ``"skip"`` its batches are left out like others.

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
        self._looks: list[Look] = []  # of the batches since the last step
        self._batch: Any = None
        self._buffers: list[Tensor] = []
        self._sums: Any = None

    def state_dict(self) -> dict[str, int]:
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.skipped = state_dict["skipped"]

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self.on_nonfinite == "skip" and isinstance(trainer.strategy, pl.strategies.DeepSpeedStrategy):
            raise ValueError(
                "Expected `on_nonfinite` to be 'raise' with DeepSpeed, which keeps the gradients to itself, but got "
                "'skip'. Train with trainer=ddp or trainer=fsdp2 to leave steps out."
            )
        self._looks, self._pending = [], []
        if (guard := guard_of(pl_module)) is not None:
            guard.raises = self.on_nonfinite == "raise"

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if (guard := guard_of(pl_module)) is not None:
            guard.raises = True

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._batch = batch
        if self.on_nonfinite == "skip" and not self._looks:  # the first batch of a step
            self._buffers = [buffer.clone() for buffer in pl_module.buffers()]
            means = getattr(pl_module, "_means", None)
            self._sums = None if means is None else means["train"].state_dict()

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        losses = getattr(pl_module, "latest_losses", None) or {"loss": loss}
        bad = {name: ~value.detach().isfinite().all() for name, value in losses.items()}
        guard = guard_of(pl_module)
        if guard is not None and not guard.raises and guard.bad is not None:
            bad["teacher"] = guard.bad
        self._looks.append(Look(bad, trainer.fit_loop.batch_idx, self._sample_ids(pl_module)))

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        check_rates(optimizer, trainer)
        looks, self._looks = self._looks, []
        names = tuple(dict.fromkeys(name for look in looks for name in look.bad))
        no = torch.zeros((), dtype=torch.bool, device=pl_module.device)
        rows = [torch.stack([look.bad.get(name, no) for name in names]) for look in looks]
        losses = torch.stack(rows) if rows else no.expand(0, 0)
        own = losses.any(dim=0)
        if getattr(trainer.precision_plugin, "scaler", None) is None:
            names += ("gradient",)
            own = torch.cat([own, (~gradient_norm(optimizer).isfinite()).to(own.device)[None]])
        own = own.to(torch.int8)
        in_any = trainer.strategy.reduce(own.clone(), reduce_op="max") if trainer.world_size > 1 else own
        bad = torch.cat([in_any, own, losses.any(dim=1).to(torch.int8)])
        batches, ids = tuple(look.batch for look in looks), tuple(look.sample_ids for look in looks)
        step = Step(names, trainer.current_epoch, batches, ids)
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
        spoilt = spoilt_parameters(pl_module)
        if trainer.strategy.reduce_boolean_decision(bool(spoilt), all=False) if trainer.world_size > 1 else spoilt:
            raise ValueError(
                f"Expected finite weights to save, but got NaN or infinity in {few(spoilt) or 'another process'} at "
                f"step {trainer.global_step} (epoch {trainer.current_epoch}), after finite losses and gradients."
                f"{last_checkpoint(trainer)} Look at the optimizer's settings and at what else changes weights."
            )

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if isinstance(exception, TeacherNotFinite):
            exception.args = (f"{exception}{last_checkpoint(trainer)}",)

    def _skip_if(
        self, bad: Tensor, step: Step, trainer: pl.Trainer, module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        if not bool(bad.any()):
            return
        self.skipped += 1
        said = message(flags_of(bad, step), step, trainer, module)
        if self.skipped > self.max_skipped:
            raise ValueError(
                f"Expected at most `max_skipped` = {self.max_skipped} steps to be left out, but this is one more. "
                + said
            )
        say(f"warning: step left out, {self.skipped} of at most {self.max_skipped}. {said.partition(' Lower')[0]}")
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
                raise ValueError(message(flags_of(flags, step), step, trainer, module))

    def _has_come(self, processes: int) -> bool:
        event = self._pending[0][1]
        return event is None or (event.query() if processes == 1 else len(self._pending) > DELAY)

    def _sample_ids(self, module: pl.LightningModule) -> Tensor | None:
        return getattr(module, "unpack_batch", as_batch)(self._batch).sample_ids


def gradient_norm(optimizer: torch.optim.Optimizer) -> Tensor:
    """The norm of all gradients of an optimizer's parameters: NaN or infinite if one of them is."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return torch.zeros((), device=parameters[0].device)
    norm = torch.nn.utils.get_total_norm(gradients)
    whole: Tensor = norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # a sharded one
    return whole


def guard_of(module: nn.Module) -> FiniteGuard | None:
    """What looks at the teacher's answers in a distiller."""
    guard = getattr(module, "_guard", None)
    return guard if isinstance(guard, FiniteGuard) else None


def check_rates(optimizer: torch.optim.Optimizer, trainer: pl.Trainer) -> None:
    """Raise for a learning rate with which a step would spoil the weights: a scheduler's fault, mostly."""
    rates = [group["lr"] for group in optimizer.param_groups if isinstance(group.get("lr"), (int, float))]
    bad = next((rate for rate in rates if not math.isfinite(rate)), None)
    if bad is not None:
        raise ValueError(
            f"Expected a finite learning rate, but got {bad} at step {trainer.global_step} (epoch "
            f"{trainer.current_epoch}).{last_checkpoint(trainer)} Look at the scheduler."
        )
