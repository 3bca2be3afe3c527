"""Logit standardisation (Sun et al., 2024, https://arxiv.org/abs/2403.01427)."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_distill.checks import at_least_fp32

# Added to the standard deviation in the paper's code.
EPS = 1e-7
# Multiples of the rounding error of the mean below which a spread is rounding, not signal.
ROUNDING = 8.0


def standardize_logits(logits: Tensor, class_dim: int = 1, temperature: float = 1.0) -> Tensor:
    """``(logits - mean) / (std + 1e-7) / temperature`` over the classes, with the unbiased standard deviation.

    The student then learns the teacher's relations between classes and not the size of its logits. A row whose logits
    are all equal (a zero-initialised head) has no scale: it is centred only. Dividing by 1e-7 would leave its value at
    0 but multiply its gradient by 1e7, which float16 cannot hold.

    Args:
        logits: ``[B, C, ...]`` with at least two classes.
        class_dim: The dimension that holds the classes.
        temperature: Divides the result.

    Returns:
        Same shape, in the input's precision but never below float32.

    Example:
        >>> standardize_logits(torch.tensor([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]]))
        tensor([[-1.0000,  0.0000,  1.0000],
                [ 0.0000,  0.0000,  0.0000]])
    """
    logits = at_least_fp32(logits)
    std, mean = torch.std_mean(logits, dim=class_dim, keepdim=True)
    noise = mean.detach().abs() * (ROUNDING * torch.finfo(logits.dtype).eps)
    scale = torch.where(std > noise, std + EPS, 1.0)
    return (logits - mean) / (scale if temperature == 1.0 else scale * temperature)


def soften(logits: Tensor, temperature: float, standardize: bool, class_dim: int = 1) -> Tensor:
    """``logits / temperature``, standardised first if asked for.

    Example:
        >>> soften(torch.tensor([[1.0, 2.0, 3.0]]), 2.0, standardize=False)
        tensor([[0.5000, 1.0000, 1.5000]])
    """
    return standardize_logits(logits, class_dim, temperature) if standardize else logits / temperature
