"""ResNet-50 with a first layer for small images (He et al., 2016, https://arxiv.org/abs/1512.03385)."""

from __future__ import annotations

from torch import Tensor, nn

from lightning_distill.models.cifar.layers import conv1x1, conv3x3, init_he, pooled, projection

EXPANSION = 4
STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))  # inner channels, blocks, stride


class Bottleneck(nn.Module):
    """A 3 x 3 convolution between two 1 x 1 ones, beside a shortcut."""

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        out_channels = EXPANSION * channels
        self.conv1, self.bn1 = conv1x1(in_channels, channels), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = conv3x3(channels, channels, stride), nn.BatchNorm2d(channels)
        self.conv3, self.bn3 = conv1x1(channels, out_channels), nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()
        changes = stride != 1 or in_channels != out_channels
        self.shortcut: nn.Module = projection(in_channels, out_channels, stride) if changes else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        inner = self.relu(self.bn1(self.conv1(maps)))
        inner = self.relu(self.bn2(self.conv2(inner)))
        result: Tensor = self.relu(self.bn3(self.conv3(inner)) + self.shortcut(maps))
        return result


class BottleneckResNet(nn.Module):
    """Four stages of bottlenecks; unlike for ImageNet, the first layer keeps the size.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
    """

    def __init__(self, num_classes: int = 100, in_channels: int = 3) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv3x3(in_channels, 64), nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        width = 64
        for number, (channels, blocks, stride) in enumerate(STAGES, start=1):
            first = Bottleneck(width, channels, stride)
            width = EXPANSION * channels
            rest = (Bottleneck(width, channels) for _ in range(blocks - 1))
            self.add_module(f"layer{number}", nn.Sequential(first, *rest))
        self.linear = nn.Linear(width, num_classes)
        init_he(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, num_classes]``."""
        maps = self.relu(self.bn1(self.conv1(images)))
        for number in range(1, len(STAGES) + 1):
            maps = self.get_submodule(f"layer{number}")(maps)
        logits: Tensor = self.linear(pooled(maps))
        return logits


def resnet50(num_classes: int = 100, in_channels: int = 3) -> nn.Module:
    """ResNet-50 for images of 32 x 32 pixels.

    Example:
        >>> sum(p.numel() for p in resnet50().parameters())
        23705252
    """
    return BottleneckResNet(num_classes, in_channels)
