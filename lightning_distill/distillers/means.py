"""Means over an epoch that cost a step next to nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor


class EpochMeans:
    """Running sums of named losses on whatever device they are, read once per epoch; a step never waits for them.

    Example:
        >>> means = EpochMeans()
        >>> means.add({"train/loss": torch.tensor(1.0)}, 2)
        >>> means.add({"train/loss": torch.tensor(4.0)}, 1)
        >>> means.read()
        {'train/loss': tensor(2., dtype=torch.float64)}
    """

    def __init__(self) -> None:
        # By names: the sums of losses times samples, and of samples.
        self._sums: dict[tuple[str, ...], tuple[Tensor, Tensor | int]] = {}

    def add(self, values: Mapping[str, Tensor], count: Tensor | int) -> None:
        """Add a batch's losses, each a mean over ``count`` samples."""
        names = tuple(values)
        weighted = torch.stack([value.detach().to(_wide(value)) for value in values.values()]) * count
        if names in self._sums:
            sums, counts = self._sums[names]
            weighted, count = sums + weighted, counts + count
        self._sums[names] = weighted, count

    def read(self, reduce: Callable[[Tensor], Tensor] | None = None) -> dict[str, Tensor]:
        """The mean of each loss so far, and start over.

        Args:
            reduce: Sums a tensor over all processes; ``None`` for one process.
        """
        groups, self._sums = self._sums, {}
        means: dict[str, Tensor] = {}
        for names, (sums, count) in groups.items():
            together = torch.cat([sums, torch.as_tensor(count, dtype=sums.dtype, device=sums.device).reshape(1)])
            *totals, samples = (together if reduce is None else reduce(together)).unbind()
            means |= {name: total / samples for name, total in zip(names, totals, strict=True)}
        return means

    def __bool__(self) -> bool:
        return bool(self._sums)

    def state_dict(self) -> dict[str, list[Tensor | int]]:
        """The sums so far, for a checkpoint in the middle of an epoch; names are joined by a space."""
        return {" ".join(names): list(pair) for names, pair in self._sums.items()}

    def load_state_dict(self, state: Mapping[str, list[Tensor | int]], device: torch.device) -> None:
        """Go on from the sums of a checkpoint."""
        self._sums = {}
        for names, (sums, count) in state.items():
            moved = count.to(device) if isinstance(count, Tensor) else count
            self._sums[tuple(names.split(" "))] = torch.as_tensor(sums).to(device), moved


def _wide(value: Tensor) -> torch.dtype:
    return torch.float32 if value.device.type == "mps" else torch.float64  # Apple's GPUs have no float64
