"""Notice a teacher that returns NaN, without making the device wait."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

SHOWN = 8  # sample ids in a message


class TeacherNotFinite(ValueError):
    """A teacher's logits hold NaN or infinity."""


class FiniteGuard:
    """Raises when logits hold NaN or +inf (-inf is a masked class): on a CPU at once, on a GPU a step or so later.

    On a GPU the answer is copied to pinned memory behind the step's own work, and read by a later call once it has
    arrived; nothing waits for it.

    Attributes:
        raises: Whether it raises; if not, somebody else looks at :attr:`bad`.
        bad: Whether the last logits were so: a scalar on their device; ``None`` before the first ones.

    Example:
        >>> try:
        ...     FiniteGuard().check(torch.tensor([[float("nan"), 0.0]]), "batch 3", torch.tensor([7]))
        ... except TeacherNotFinite as error:
        ...     print(str(error).partition(' Check')[0])
        Expected the teacher to return finite logits, but got NaN or infinity for batch 3 (sample ids 7).
    """

    def __init__(self) -> None:
        self.raises = True
        self.bad: Tensor | None = None
        self._pending: list[tuple[Tensor, Any, str, Tensor | None]] = []

    def check(self, logits: Tensor, where: str, sample_ids: Tensor | None = None) -> None:
        """Look at ``logits`` ``[B, ...]``; ``where`` and ``sample_ids`` ``[B]`` name the batch for the message."""
        if logits.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
            return  # a graph's replays run no Python that could raise
        highest = logits.detach().amax()  # NaN if there is one
        self.bad = ~(highest < float("inf"))
        if not self.raises:
            return
        if logits.device.type != "cuda":
            if bool(self.bad):
                rows = ~(logits.detach().flatten(1).amax(dim=1) < float("inf"))
                raise _error(where, None if sample_ids is None else sample_ids[rows])
            return
        flag = torch.empty((), dtype=torch.bool, pin_memory=True)
        flag.copy_(self.bad, non_blocking=True)
        event: Any = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        self._pending.append((flag, event, where, sample_ids))
        self._read(wait=False)

    def flush(self) -> None:
        """Wait for and read every answer that is still on its way: at the end of an epoch."""
        self._read(wait=True)

    def _read(self, wait: bool) -> None:
        while self._pending and (wait or self._pending[0][1].query()):
            flag, event, where, sample_ids = self._pending.pop(0)
            event.synchronize()
            if bool(flag):
                raise _error(where, sample_ids)

    def __deepcopy__(self, memo: dict[int, object]) -> FiniteGuard:
        return FiniteGuard()

    def __reduce__(self) -> tuple[type[FiniteGuard], tuple[()]]:
        return FiniteGuard, ()


def _error(where: str, sample_ids: Tensor | None) -> TeacherNotFinite:
    ids = [] if sample_ids is None else sample_ids.tolist()
    more = ", ..." if len(ids) > SHOWN else ""
    named = f" (sample ids {', '.join(map(str, ids[:SHOWN]))}{more})" if ids else ""
    return TeacherNotFinite(
        f"Expected the teacher to return finite logits, but got NaN or infinity for {where}{named}. "
        "Check its weights, its precision and the normalisation of its inputs."
    )
