"""How much a network computes for one sample."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lightning_distill.dry_run import dry_run, map_tensors
from lightning_distill.types import call_model


def count_flops(model: nn.Module, example_input: Any) -> int:
    """Floating-point operations of one forward pass for one sample; a multiplication and an addition are two.

    Matrix products, convolutions and attention are counted, as PyTorch's counter does.

    Example:
        >>> count_flops(nn.Linear(4, 3), torch.zeros(2, 4))
        24
    """
    sample = map_tensors(example_input, lambda tensor: tensor[:1])
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        dry_run(model, sample, call_model)
    return int(counter.get_total_flops())
