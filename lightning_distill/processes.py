"""What the processes of one run tell each other beside tensors."""

from __future__ import annotations

from typing import Any

import torch.distributed as dist


def from_all(own: Any) -> list[Any]:
    """Every process's value, in the order of ranks. All processes call this together.

    Example:
        >>> from_all({"rank": 0})
        [{'rank': 0}]
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return [own]
    gathered: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, own)
    return gathered
