"""ViTKD: imitate the first blocks, generate the last (Yang et al., 2022, https://arxiv.org/abs/2209.02432)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_distill.checks import at_least_fp32, check_fraction, check_positive
from lightning_distill.losses.embeddings import lift_features, project
from lightning_distill.losses.step_random import StepRandom

Grid = tuple[int, int]


def patch_tokens(tokens: Tensor, grid: Grid | None = None) -> Tensor:
    """The last ``H * W`` of ``[B, N, D]`` tokens: without the class token and others that come before the patches.

    Args:
        tokens: ``[B, N, D]``.
        grid: ``(H, W)``; ``None`` takes the largest square.

    Raises:
        ValueError: If there are fewer tokens than ``grid`` has positions.

    Example:
        >>> patch_tokens(torch.zeros(2, 198, 8)).shape
        torch.Size([2, 196, 8])
    """
    count = math.isqrt(tokens.shape[1]) ** 2 if grid is None else grid[0] * grid[1]
    if tokens.dim() != 3 or count > tokens.shape[1]:
        raise ValueError(f"Expected tokens of shape [B, N, D] with N at least {count}, but got {list(tokens.shape)}.")
    return tokens[:, tokens.shape[1] - count :]


def lowest(noise: Tensor, share: float) -> Tensor:
    """Whether each of ``[B, N]`` is among the ``share`` (rounded down) lowest of its row.

    Example:
        >>> lowest(torch.tensor([[0.3, 0.1, 0.2, 0.9]]), 0.5)
        tensor([[False,  True,  True, False]])
    """
    return noise.argsort(dim=1).argsort(dim=1) < int(noise.shape[1] * share)


def squared_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Sum of squared differences over everything but the batch, whose mean it is."""
    return F.mse_loss(student, teacher, reduction="sum") / student.shape[0]


def _convolve(convolution: nn.Conv2d, maps: Tensor) -> Tensor:
    weight = at_least_fp32(convolution.weight)
    bias = None if convolution.bias is None else at_least_fp32(convolution.bias)
    return F.conv2d(maps, weight, bias, padding=1)


class ViTKDLoss(nn.Module):
    """Squared distances of tokens, summed over tokens and channels, a mean over samples: of early blocks, and the last.

    ``low`` * the distance of the projected tokens of the first blocks, plus ``high`` / ``mask_share`` * the distance of
    the last block's tokens where they were masked: there they are generated from the other tokens by two convolutions.

    Args:
        student_channels: Width of the student's tokens; one for each block if they differ.
        teacher_channels: Likewise.
        blocks: Number of blocks that are compared, with the last: at least 2.
        low: Coefficient of the first blocks: the published alpha.
        high: Coefficient of the last block: the published beta.
        mask_share: Share of the tokens that are masked, above 0 and below 1.
        grid: ``(H, W)`` of the patches; ``None`` takes them for a square.
        seed: Of the masks, which are a function of it and of the step.

    Raises:
        ValueError: If an argument is out of range; in the call, if the tokens do not fit.

    Example:
        >>> loss = ViTKDLoss(student_channels=4, teacher_channels=6)
        >>> student, teacher = (torch.zeros(2, 10, 4),) * 3, (torch.zeros(2, 10, 6),) * 3
        >>> loss(student, teacher).shape
        torch.Size([])
    """

    def __init__(
        self,
        student_channels: int | Sequence[int],
        teacher_channels: int | Sequence[int],
        blocks: int = 3,
        low: float = 3e-5,
        high: float = 3e-6,
        mask_share: float = 0.5,
        grid: Grid | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_fraction("mask_share", mask_share)
        check_positive("mask_share", mask_share)
        narrow, wide = _widths("student", student_channels, blocks), _widths("teacher", teacher_channels, blocks)
        if blocks < 2:
            raise ValueError(f"Expected `blocks` to be at least 2, but got {blocks}.")
        self.low = low
        self.high = high
        self.mask_share = mask_share
        self.grid = None if grid is None else (grid[0], grid[1])
        self.align_low = nn.ModuleList(nn.Linear(s, t) for s, t in zip(narrow[:-1], wide[:-1], strict=True))
        self.align_high = nn.Linear(narrow[-1], wide[-1])
        self.mask_token = nn.Parameter(torch.zeros(1, 1, wide[-1]))
        self.generate_in = nn.Conv2d(wide[-1], wide[-1], 3, padding=1)
        self.generate_out = nn.Conv2d(wide[-1], wide[-1], 3, padding=1)
        self.random = StepRandom(seed)

    def forward(
        self, student_tokens: Sequence[Tensor], teacher_tokens: Sequence[Tensor], *, noise: Tensor | None = None
    ) -> Tensor:
        """The loss.

        Args:
            student_tokens: Tokens ``[B, N, D]`` of the first blocks in order, and of the last block; all that receives
                a gradient. Tokens before the patches are left out.
            teacher_tokens: Likewise; the same patches.
            noise: ``[B, H * W]``: the tokens with the highest are masked. Drawn if ``None``.
        """
        pairs = self._pairs(student_tokens, teacher_tokens)
        low = [
            squared_distance(project(cast(nn.Linear, align), student, "student"), teacher)
            for align, (student, teacher) in zip(self.align_low, pairs[:-1], strict=True)
        ]
        return self.low * torch.stack(low).sum() + self.high / self.mask_share * self._generation(*pairs[-1], noise)

    def _pairs(self, student_tokens: Sequence[Tensor], teacher_tokens: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        blocks = len(self.align_low) + 1
        for name, tokens in (("student_tokens", student_tokens), ("teacher_tokens", teacher_tokens)):
            if isinstance(tokens, Tensor) or len(tokens) != blocks:
                given = "one tensor" if isinstance(tokens, Tensor) else len(tokens)
                raise ValueError(f"Expected `{name}` to hold the tokens of {blocks} blocks, but got {given}.")
        pairs = []
        for student, teacher in zip(student_tokens, teacher_tokens, strict=True):
            student, teacher = lift_features(patch_tokens(student, self.grid), patch_tokens(teacher, self.grid))
            if student.shape[1] != teacher.shape[1]:
                raise ValueError(
                    "Expected `student_tokens` and `teacher_tokens` to have the same patches, but got "
                    f"{student.shape[1]} and {teacher.shape[1]}. Name `grid` if they are no square."
                )
            pairs.append((student, teacher))
        return pairs

    def _generation(self, student: Tensor, teacher: Tensor, noise: Tensor | None) -> Tensor:
        """The distance where the last block's tokens are masked."""
        batch, count = student.shape[:2]
        if noise is None:
            noise = torch.rand(batch, count, generator=self.random.generator(student.device), device=student.device)
            if self.training:
                self.random.advance()
        kept = lowest(noise, 1 - self.mask_share).unsqueeze(2)
        tokens = torch.where(kept, project(self.align_high, student, "student"), at_least_fp32(self.mask_token))
        height, width = self.grid or (math.isqrt(count), math.isqrt(count))
        maps = tokens.transpose(1, 2).unflatten(2, (height, width))  # type: ignore[no-untyped-call]
        generated = _convolve(self.generate_out, _convolve(self.generate_in, maps).relu()).flatten(2).transpose(1, 2)
        return squared_distance(generated.masked_fill(kept, 0), teacher.masked_fill(kept, 0))

    def extra_repr(self) -> str:
        return f"low={self.low}, high={self.high}, mask_share={self.mask_share}, grid={self.grid}"


def _widths(name: str, channels: int | Sequence[int], blocks: int) -> tuple[int, ...]:
    widths = (channels,) * blocks if isinstance(channels, int) else tuple(channels)
    if len(widths) != blocks:
        raise ValueError(
            f"Expected `{name}_channels` to hold one width for each of the {blocks} `blocks`, but got {len(widths)}."
        )
    return widths
