"""ShuffleNet for CIFAR: three groups (Zhang et al., 2018, https://arxiv.org/abs/1707.01083)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_distill.models.cifar.layers import conv1x1, depthwise, pooled, shuffle_channels

FIRST, GROUPS = 24, 3
STAGES = ((240, 4), (480, 8), (960, 4))  # channels after the stage, units


class ShuffleUnit(nn.Module):
    """Grouped 1 x 1 convolutions around a depthwise one, with the channels shuffled in between.

    With stride 2 the averaged input is put beside the result, else it is added.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        new = channels - in_channels if stride == 2 else channels
        inner = new // 4
        self.groups = 1 if in_channels == FIRST else GROUPS  # the first convolution has too few channels to be grouped
        self.stride = stride
        self.conv1, self.bn1 = conv1x1(in_channels, inner, groups=self.groups), nn.BatchNorm2d(inner)
        self.conv2, self.bn2 = depthwise(inner, stride), nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = conv1x1(inner, new, groups=GROUPS), nn.BatchNorm2d(new)

    def forward(self, maps: Tensor) -> Tensor:
        inner = shuffle_channels(F.relu(self.bn1(self.conv1(maps))), self.groups)
        new = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(inner)))))
        if self.stride == 1:
            return F.relu(new + maps)
        return F.relu(torch.cat([new, F.avg_pool2d(maps, kernel_size=3, stride=2, padding=1)], dim=1))


class ShuffleNetV1(nn.Module):
    """Three stages that each halve the size and double the channels; 32 pixels become 4.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.

    Example:
        >>> sum(p.numel() for p in ShuffleNetV1().parameters())
        949258
    """

    def __init__(self, num_classes: int = 100, in_channels: int = 3) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv1x1(in_channels, FIRST), nn.BatchNorm2d(FIRST)
        width = FIRST
        for number, (channels, units) in enumerate(STAGES, start=1):
            first = ShuffleUnit(width, channels, stride=2)
            width = channels
            rest = (ShuffleUnit(width, width, stride=1) for _ in range(units - 1))
            self.add_module(f"layer{number}", nn.Sequential(first, *rest))
        self.linear = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, num_classes]``."""
        maps = F.relu(self.bn1(self.conv1(images)))
        for number in range(1, len(STAGES) + 1):
            maps = self.get_submodule(f"layer{number}")(maps)
        logits: Tensor = self.linear(pooled(maps))
        return logits
