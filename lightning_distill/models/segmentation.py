"""A small network for the class of every pixel (after U-Net: Ronneberger et al., 2015, https://arxiv.org/abs/1505.04597)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _block(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


class SegmentationNet(nn.Module):
    """Features at full, half and quarter size, brought together again: logits ``[B, num_classes, H, W]``.

    Args:
        num_classes: Number of logits of each pixel.
        in_channels: Channels of the images ``[B, in_channels, H, W]``; H and W are multiples of 4.
        width: Channels at full size; twice and four times as many below.

    Example:
        >>> network = SegmentationNet(num_classes=4)
        >>> sum(p.numel() for p in network.parameters()), list(network(torch.zeros(2, 3, 16, 16)).shape)
        (24092, [2, 4, 16, 16])
    """

    def __init__(self, num_classes: int, in_channels: int = 3, width: int = 8) -> None:
        super().__init__()
        self.down1 = _block(in_channels, width)
        self.down2 = _block(width, 2 * width)
        self.bottom = nn.Sequential(_block(2 * width, 4 * width), _block(4 * width, 4 * width))
        self.up2 = _block(6 * width, 2 * width)
        self.up1 = _block(3 * width, width)
        self.head = nn.Conv2d(width, num_classes, kernel_size=1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, num_classes, H, W]``."""
        full = self.down1(images)
        half = self.down2(F.max_pool2d(full, 2))
        quarter = self.bottom(F.max_pool2d(half, 2))
        half = self.up2(torch.cat([half, F.interpolate(quarter, scale_factor=2.0)], dim=1))
        full = self.up1(torch.cat([full, F.interpolate(half, scale_factor=2.0)], dim=1))
        logits: Tensor = self.head(full)
        return logits
