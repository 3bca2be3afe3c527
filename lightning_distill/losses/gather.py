"""Relations between samples see the whole batch: join the parts that the processes of a run hold."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable


def world_size() -> int:
    """Number of processes; 1 where none are set up."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


class AllGather(torch.autograd.Function):
    """The rows of all processes in the order of their ranks; the gradient of a process's own rows comes back to it."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows)
        ctx.start, ctx.length = dist.get_rank() * rows.shape[0], rows.shape[0]
        return torch.cat(parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # Every process computes the same loss, so each holds a part of a row's gradient as often as there are
        # processes. The sum undoes the mean that data-parallel training takes over the parameters' gradients.
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total[ctx.start : ctx.start + ctx.length]


def gather_rows(rows: Tensor) -> Tensor:
    """The rows of all processes, ``[world_size * B, ...]``; with one process, or none set up, ``rows`` themselves.

    A gradient flows back to the process whose rows they are, summed over the processes: with a data-parallel mean of
    the gradients a loss of the gathered rows trains as it does in one process on the whole batch. Every process must
    hold the same number of rows, as the distributed samplers give them.

    Args:
        rows: ``[B, ...]``.

    Example:
        >>> gather_rows(torch.ones(2, 3)).shape
        torch.Size([2, 3])
    """
    if world_size() == 1:
        return rows
    gathered: Tensor = AllGather.apply(rows.contiguous())
    return gathered
