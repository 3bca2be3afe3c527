"""Residual networks for CIFAR (He et al., 2016, section 4.2, https://arxiv.org/abs/1512.03385)."""

from __future__ import annotations

from torch import Tensor, nn

from lightning_distill.models.cifar.layers import conv3x3, init_he, pooled, projection

WIDTHS = (16, 16, 32, 64)  # of the first convolution and of the three stages


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut."""

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv3x3(in_channels, channels, stride), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = conv3x3(channels, channels), nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        changes = stride != 1 or in_channels != channels
        self.downsample = projection(in_channels, channels, stride) if changes else None

    def forward(self, maps: Tensor) -> Tensor:
        shortcut = maps if self.downsample is None else self.downsample(maps)
        inner = self.relu(self.bn1(self.conv1(maps)))
        result: Tensor = self.relu(self.bn2(self.conv2(inner)) + shortcut)
        return result


class ResNet(nn.Module):
    """Three stages of basic blocks at full, half and quarter size, then a linear classifier.

    Args:
        depth: ``6 n + 2`` for n blocks in each stage.
        num_classes: Number of logits.
        in_channels: Channels of the images.
        widths: Channels of the first convolution and of the three stages; four times as many make ``resnet8x4``.

    Raises:
        ValueError: If no number of blocks gives ``depth``.

    Example:
        >>> sum(p.numel() for p in ResNet(20, num_classes=100).parameters())
        278324
    """

    def __init__(
        self, depth: int, num_classes: int = 100, in_channels: int = 3, widths: tuple[int, int, int, int] = WIDTHS
    ) -> None:
        super().__init__()
        if depth < 8 or depth % 6 != 2:
            raise ValueError(f"Expected `depth` to be 6 n + 2 (8, 14, 20, ...), but got {depth}.")
        blocks = depth // 6
        self.conv1, self.bn1 = conv3x3(in_channels, widths[0]), nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU()
        self.layer1 = _stage(widths[0], widths[1], blocks, stride=1)
        self.layer2 = _stage(widths[1], widths[2], blocks, stride=2)
        self.layer3 = _stage(widths[2], widths[3], blocks, stride=2)
        self.fc = nn.Linear(widths[3], num_classes)
        init_he(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, num_classes]``."""
        maps = self.relu(self.bn1(self.conv1(images)))
        logits: Tensor = self.fc(pooled(self.layer3(self.layer2(self.layer1(maps)))))
        return logits


def _stage(in_channels: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(in_channels, channels, stride)
    return nn.Sequential(first, *(BasicBlock(channels, channels) for _ in range(blocks - 1)))
