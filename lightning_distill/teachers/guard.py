"""Notice a teacher that returns NaN, without making the device wait."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class FiniteGuard:
    """Raises when logits hold NaN or +inf (-inf is a masked class): on a CPU at once, on a GPU a step or so later.

    On a GPU the answer is copied to pinned memory behind the step's own work, and read by a later call once it has
    arrived; nothing waits for it.

    Example:
        >>> FiniteGuard().check(torch.tensor([[float("nan"), 0.0]]), "batch 3 of epoch 0")
        Traceback (most recent call last):
        ...
        ValueError: Expected the teacher to return finite logits, but got NaN or infinity for batch 3 of epoch 0. \
Check its weights, its precision and the normalisation of its inputs.
    """

    def __init__(self) -> None:
        self._pending: list[tuple[Tensor, Any, str]] = []

    def check(self, logits: Tensor, where: str) -> None:
        """Look at ``logits``; ``where`` names the batch for the message."""
        if logits.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
            return  # a graph's replays run no Python that could raise
        highest = logits.detach().amax()  # NaN if there is one
        if logits.device.type != "cuda":
            self._raise_if(not float(highest) < float("inf"), where)
            return
        bad = ~(highest < float("inf"))
        flag = torch.empty((), dtype=torch.bool, pin_memory=True)
        flag.copy_(bad, non_blocking=True)
        event: Any = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        self._pending.append((flag, event, where))
        self._read(wait=False)

    def flush(self) -> None:
        """Wait for and read every answer that is still on its way: at the end of an epoch."""
        self._read(wait=True)

    def _read(self, wait: bool) -> None:
        while self._pending and (wait or self._pending[0][1].query()):
            flag, event, where = self._pending.pop(0)
            event.synchronize()
            self._raise_if(bool(flag), where)

    @staticmethod
    def _raise_if(bad: bool, where: str) -> None:
        if bad:
            raise ValueError(
                f"Expected the teacher to return finite logits, but got NaN or infinity for {where}. "
                "Check its weights, its precision and the normalisation of its inputs."
            )

    def __deepcopy__(self, memo: dict[int, object]) -> FiniteGuard:
        return FiniteGuard()

    def __reduce__(self) -> tuple[type[FiniteGuard], tuple[()]]:
        return FiniteGuard, ()
