"""Random draws that are a function of a seed and a step counter, so that a resumed run draws what it would have."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lightning_distill.losses.gather import world_size

_MASK = 2**64 - 1


def mixed_seed(seed: int, step: int, rank: int = 0) -> int:
    """A 32-bit seed in which every input moves every bit (SplitMix64): the CPU's generator reads no more.

    Example:
        >>> mixed_seed(0, 1) != mixed_seed(0, 2), 0 <= mixed_seed(7, 3, 1) < 2**32
        (True, True)
    """
    state = (seed * 0x9E3779B97F4A7C15 + (step + 1) * 0xD1B54A32D192ED03 + rank * 0x8CB92BA72F3D8DD7) & _MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return (state ^ (state >> 31)) >> 32


class StepRandom(nn.Module):
    """A generator for every step. The counter is in the state dict as a tensor; it never has to leave the device.

    Args:
        seed: Two losses with different seeds draw independently.

    Example:
        >>> random = StepRandom(seed=0)
        >>> first = torch.rand(2, generator=random.generator(torch.device("cpu")))
        >>> random.advance()
        >>> bool((first == torch.rand(2, generator=random.generator(torch.device("cpu")))).any())
        False
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed
        self.step = 0

    def generator(self, device: torch.device) -> torch.Generator:
        """This step's generator; each rank has its own."""
        rank = dist.get_rank() if world_size() > 1 else 0
        return torch.Generator(device).manual_seed(mixed_seed(self.seed, self.step, rank))

    def advance(self) -> None:
        """Go to the next step."""
        self.step += 1

    def get_extra_state(self) -> Tensor:
        # Not a buffer: reading one back would wait for the device, and DDP would broadcast it in every step.
        return torch.tensor(self.step)

    def set_extra_state(self, state: Any) -> None:
        self.step = int(state)

    def extra_repr(self) -> str:
        return f"seed={self.seed}"
