"""Full precision inside a loss: matrix products there must not be lowered by autocast."""

from __future__ import annotations

import torch
from torch import Tensor


def full_precision(tensor: Tensor) -> torch.autocast:
    """A context in which autocast is off on the tensor's device.

    Example:
        >>> with torch.autocast("cpu", dtype=torch.bfloat16), full_precision(torch.eye(2)):
        ...     (torch.eye(2) @ torch.eye(2)).dtype
        torch.float32
    """
    return torch.autocast(device_type=tensor.device.type, enabled=False)
