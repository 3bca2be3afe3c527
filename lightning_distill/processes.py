"""What the processes of one run tell each other beside tensors."""

from __future__ import annotations

from typing import Any

import torch.distributed as dist


def leave() -> None:
    """Part from the other processes of a run, when all its work is done.

    Lightning does so for NCCL alone. The threads of gloo would go on until Python is taken down around them, which once
    in a long while ends the process by an abort, and its run by that.
    """
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


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
