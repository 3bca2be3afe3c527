"""Random numbers that are a function of (seed, epoch, sample id) and of nothing else: SplitMix64 on whole batches.

Steele, Lea and Flood, 2014, https://doi.org/10.1145/2660193.2660195. Integer arithmetic gives the same bits on every
device and in every process, whatever else is in the batch and whatever was drawn before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

Word = TypeVar("Word", int, Tensor)

GOLDEN = 0x9E3779B97F4A7C15  # 2**64 / golden ratio, odd: SplitMix64's step
FACTORS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)  # of its mixing function, as are the shifts
SHIFTS = (30, 27, 31)
UNIFORM_BITS = 24  # what float32 holds exactly


@dataclass(frozen=True)
class Draws:
    """Random numbers for each sample of a batch, taken by their position rather than in sequence.

    Attributes:
        words: ``[D, B]`` int64, uniform over all 64 bits.

    Example:
        >>> draws = Draws.of(seed=0, epoch=0, sample_ids=torch.tensor([7, 8, 7]), count=2)
        >>> draws.uniform(0), draws.integers(1, 1000)
        (tensor([0.7431, 0.7548, 0.7431]), tensor([49, 68, 49]))
    """

    words: Tensor

    @classmethod
    def of(cls, seed: int, epoch: int | Tensor, sample_ids: Tensor, count: int) -> Draws:
        """``count`` draws for each sample.

        Args:
            seed: Any integer.
            epoch: One for all samples, or ``[B]``.
            sample_ids: ``[B]`` integers.
            count: D.
        """
        root = mix(signed(seed))
        if isinstance(epoch, Tensor):
            state = split(split(torch.full_like(epoch, root, dtype=torch.int64), epoch), sample_ids)
        else:
            state = split(torch.full_like(sample_ids, split(root, epoch), dtype=torch.int64), sample_ids)
        return cls(split(state, torch.arange(count, device=state.device).unsqueeze(1)))

    def split(self, counts: Sequence[int]) -> list[Draws]:
        """The first ``counts[0]`` draws, the next ``counts[1]``, and so on: some for each operation."""
        return [Draws(words) for words in self.words.split_with_sizes(list(counts))]

    def uniform(self, index: int) -> Tensor:
        """Draw number ``index`` as ``[B]`` float32, uniform in [0, 1)."""
        return shift(self.words[index], 64 - UNIFORM_BITS).float() * 2.0**-UNIFORM_BITS

    def integers(self, index: int, high: int) -> Tensor:
        """Draw number ``index`` as ``[B]`` int64, uniform in 0 to ``high - 1``, for ``high`` below 2**31."""
        return (shift(self.words[index], 32) * high) >> 32

    def seeds(self, index: int) -> list[int]:
        """Draw number ``index`` as one seed in [0, 2**63) for each sample. This waits for the device."""
        return [int(seed) for seed in shift(self.words[index], 1).tolist()]


def split(state: Word, index: int | Tensor) -> Word:
    """Output number ``index`` of the SplitMix64 generator that starts in ``state``."""
    if isinstance(state, int):
        if isinstance(index, Tensor):
            raise TypeError("Expected an integer `index` beside an integer `state`.")
        return mix(signed(state + (index + 1) * GOLDEN))
    step = (index.long() + 1) * signed(GOLDEN) if isinstance(index, Tensor) else signed((index + 1) * GOLDEN)
    return mix(state + step)


def mix(word: Word) -> Word:
    """SplitMix64's bijection of 64-bit words, in two's complement."""
    first, second, last = SHIFTS
    word = wrap((word ^ shift(word, first)) * signed(FACTORS[0]))
    word = wrap((word ^ shift(word, second)) * signed(FACTORS[1]))
    return wrap(word ^ shift(word, last))


def shift(word: Word, bits: int) -> Word:
    """A logical shift to the right: torch's own drags the sign along."""
    shifted: Word = (word >> bits) & (2 ** (64 - bits) - 1)
    return shifted


def wrap(word: Word) -> Word:
    """A product modulo 2**64, as tensors have it anyway."""
    return signed(word) if isinstance(word, int) else word


def signed(word: int) -> int:
    """A whole number modulo 2**64 as int64 holds it.

    Example:
        >>> signed(2**64 - 1), signed(5)
        (-1, 5)
    """
    return (word + 2**63) % 2**64 - 2**63
