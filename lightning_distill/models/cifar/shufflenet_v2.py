"""ShuffleNetV2 for CIFAR (Ma et al., 2018, https://arxiv.org/abs/1807.11164)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_distill.models.cifar.layers import conv1x1, depthwise, pooled, shuffle_channels

FIRST, LAST = 24, 1024
STAGES = ((116, 3), (232, 7), (464, 3))  # channels, units after the one that halves the size


class SplitUnit(nn.Module):
    """One half of the channels passes, the other is convolved; then both are shuffled."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1, self.bn1 = conv1x1(half, half), nn.BatchNorm2d(half)
        self.conv2, self.bn2 = depthwise(half), nn.BatchNorm2d(half)
        self.conv3, self.bn3 = conv1x1(half, half), nn.BatchNorm2d(half)

    def forward(self, maps: Tensor) -> Tensor:
        kept, changed = maps.chunk(2, dim=1)
        changed = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(changed)))))
        changed = F.relu(self.bn3(self.conv3(changed)))
        return shuffle_channels(torch.cat([kept, changed], dim=1), groups=2)


class DownUnit(nn.Module):
    """Two branches that both halve the size and give half of the channels each."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1, self.bn1 = depthwise(in_channels, stride=2), nn.BatchNorm2d(in_channels)
        self.conv2, self.bn2 = conv1x1(in_channels, half), nn.BatchNorm2d(half)
        self.conv3, self.bn3 = conv1x1(in_channels, half), nn.BatchNorm2d(half)
        self.conv4, self.bn4 = depthwise(half, stride=2), nn.BatchNorm2d(half)
        self.conv5, self.bn5 = conv1x1(half, half), nn.BatchNorm2d(half)

    def forward(self, maps: Tensor) -> Tensor:
        short = F.relu(self.bn2(self.conv2(self.bn1(self.conv1(maps)))))
        long = self.bn4(self.conv4(F.relu(self.bn3(self.conv3(maps)))))
        long = F.relu(self.bn5(self.conv5(long)))
        return shuffle_channels(torch.cat([short, long], dim=1), groups=2)


class ShuffleNetV2(nn.Module):
    """Three stages that each halve the size; 32 pixels become 4.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.

    Example:
        >>> sum(p.numel() for p in ShuffleNetV2().parameters())
        1355528
    """

    def __init__(self, num_classes: int = 100, in_channels: int = 3) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv1x1(in_channels, FIRST), nn.BatchNorm2d(FIRST)
        width = FIRST
        for number, (channels, units) in enumerate(STAGES, start=1):
            stage = nn.Sequential(DownUnit(width, channels), *(SplitUnit(channels) for _ in range(units)))
            self.add_module(f"layer{number}", stage)
            width = channels
        self.conv2, self.bn2 = conv1x1(width, LAST), nn.BatchNorm2d(LAST)
        self.linear = nn.Linear(LAST, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, num_classes]``."""
        maps = F.relu(self.bn1(self.conv1(images)))
        for number in range(1, len(STAGES) + 1):
            maps = self.get_submodule(f"layer{number}")(maps)
        maps = F.relu(self.bn2(self.conv2(maps)))
        logits: Tensor = self.linear(pooled(maps))
        return logits
