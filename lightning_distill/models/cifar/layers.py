"""What several of the networks are made of."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """A 3 x 3 convolution that keeps the size, or halves it, without a bias."""
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False)


def conv1x1(in_channels: int, out_channels: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A 1 x 1 convolution without a bias."""
    return nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, groups=groups, bias=False)


def depthwise(channels: int, stride: int = 1) -> nn.Conv2d:
    """A 3 x 3 convolution of each channel by itself, without a bias."""
    return nn.Conv2d(channels, channels, kernel_size=3, stride=stride, padding=1, groups=channels, bias=False)


def projection(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """The shortcut of a residual block where width or size change."""
    return nn.Sequential(conv1x1(in_channels, out_channels, stride), nn.BatchNorm2d(out_channels))


def shuffle_channels(maps: Tensor, groups: int) -> Tensor:
    """Interleave the channels of ``groups`` equal parts of ``[B, C, H, W]``.

    Example:
        >>> shuffle_channels(torch.arange(6.0).view(1, 6, 1, 1), groups=2).flatten().tolist()
        [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]
    """
    batch, channels, height, width = maps.shape
    parts = maps.reshape(batch, groups, channels // groups, height, width)
    return parts.transpose(1, 2).flatten(1, 2)


def pooled(maps: Tensor) -> Tensor:
    """The mean of each channel: ``[B, C, H, W]`` to ``[B, C]``."""
    return maps.mean(dim=(2, 3))


@torch.no_grad()
def init_he(network: nn.Module) -> None:
    """Normal weights whose variance is 2 over a convolution's fan-out (He et al., https://arxiv.org/abs/1502.01852)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
