"""Which networks run with their channels last, and how inputs get there: one rule for teachers and students."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lightning_distill.dry_run import map_tensors

MEMORY_FORMATS = ("auto", "channels_last", "preserve")
# A vision transformer has one, for its patches, and gains nothing.
CONVOLUTIONS = 2


def runs_channels_last(model: nn.Module, memory_format: str = "auto") -> bool:
    """Whether ``model`` is to run in ``torch.channels_last``, the order of memory that convolutions are fastest in.

    Args:
        model: Any network.
        memory_format: ``"auto"``: if it has at least two ``Conv2d`` and is not in float64, whose results are to stay as
            they are bit for bit (the order of sums differs between the two); ``"channels_last"``: yes; ``"preserve"``:
            no, everything stays as it is.

    Example:
        >>> runs_channels_last(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)))
        True
    """
    if memory_format != "auto":
        return memory_format == "channels_last"
    convolutions = sum(isinstance(module, nn.Conv2d) for module in model.modules())
    return convolutions >= CONVOLUTIONS and all(p.dtype != torch.float64 for p in model.parameters())


def in_order(tensor: Tensor, memory_format: torch.memory_format) -> Tensor:
    """``tensor`` itself, or a copy if it is ``[N, C, H, W]`` and laid out otherwise than ``memory_format`` says.

    To the letter, also where a dimension has the size 1, so that several orders would do: convolutions choose their
    algorithm by the strides, and with it the order of their sums.

    Example:
        >>> in_order(torch.zeros(2, 1, 3, 3), torch.channels_last).stride()
        (9, 1, 3, 1)
    """
    if tensor.dim() != 4:
        return tensor
    strides = torch.empty_like(tensor, device="meta", memory_format=memory_format).stride()
    return tensor if tensor.stride() == strides else torch.empty_like(tensor, memory_format=memory_format).copy_(tensor)


def lay_out(model: nn.Module, memory_format: torch.memory_format) -> None:
    """Bring the weights of convolutions into ``memory_format``; keys, values and parameters stay the same."""
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = in_order(tensor.data, memory_format)


def channels_last(inputs: Any) -> Any:
    """Inputs with every tensor ``[B, C, H, W]`` among them in ``torch.channels_last``; the values are the same.

    Example:
        >>> channels_last(torch.zeros(1, 3, 2, 2)).stride()
        (12, 1, 6, 3)
    """
    return map_tensors(inputs, _last)


def _last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
