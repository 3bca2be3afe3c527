"""A small vision transformer with a distillation token (Touvron et al., 2021, https://arxiv.org/abs/2012.12877)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """Attention, then a hidden layer, each normalised before and added to its input."""

    def __init__(self, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))

    def forward(self, tokens: Tensor) -> Tensor:
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.qkv(self.norm1(tokens)).chunk(3, dim=-1)
        )
        attended = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        tokens = tokens + self.proj(attended)
        result: Tensor = tokens + self.mlp(self.norm2(tokens))
        return result


class TwoHeadViT(nn.Module):
    """A vision transformer whose class token and distillation token have a linear head each.

    Args:
        num_classes: Number of logits of each head.
        in_channels: Channels of the images ``[B, in_channels, image_size, image_size]``.
        image_size: Height and width.
        patch_size: Height and width of a patch; divides ``image_size``.
        dim: Width of a token.
        depth: Number of blocks.
        heads: Attention heads; divide ``dim``.

    Raises:
        ValueError: If ``patch_size`` does not divide ``image_size`` or ``heads`` does not divide ``dim``.

    Example:
        >>> logits = TwoHeadViT(num_classes=10)(torch.zeros(2, 1, 8, 8))
        >>> [list(head.shape) for head in logits]
        [[2, 10], [2, 10]]
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 1,
        image_size: int = 8,
        patch_size: int = 2,
        dim: int = 32,
        depth: int = 2,
        heads: int = 4,
    ) -> None:
        super().__init__()
        if image_size % patch_size:
            raise ValueError(f"Expected `patch_size` to divide `image_size` ({image_size}), but got {patch_size}.")
        if dim % heads:
            raise ValueError(f"Expected `heads` to divide `dim` ({dim}), but got {heads}.")
        self.patches = nn.Conv2d(in_channels, dim, kernel_size=patch_size, stride=patch_size)
        self.tokens = nn.Parameter(0.02 * torch.randn(1, 2, dim))  # class, distillation
        self.positions = nn.Parameter(0.02 * torch.randn(1, 2 + (image_size // patch_size) ** 2, dim))
        self.blocks = nn.Sequential(*(Block(dim, heads, 2 * dim) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.class_head = nn.Linear(dim, num_classes)
        self.distillation_head = nn.Linear(dim, num_classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """``(class_logits, distillation_logits)``, ``[B, num_classes]`` each."""
        patches = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.tokens.expand(images.shape[0], -1, -1), patches], dim=1) + self.positions
        tokens = self.norm(self.blocks(tokens))
        return self.class_head(tokens[:, 0]), self.distillation_head(tokens[:, 1])
