"""MobileNetV2 at half its width, for CIFAR (Sandler et al., 2018, https://arxiv.org/abs/1801.04381)."""

from __future__ import annotations

from torch import Tensor, nn

from lightning_distill.models.cifar.layers import conv1x1, conv3x3, depthwise, init_he, pooled

# Expansion, channels at full width, blocks, stride: table 2 of the paper, less downscaling at the start.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
FIRST, LAST = 32, 1280


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project back; a shortcut joins blocks that change neither width nor size."""

    def __init__(self, in_channels: int, channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = in_channels * expansion
        self.conv = nn.Sequential(
            *(conv1x1(in_channels, inner), nn.BatchNorm2d(inner), nn.ReLU()),
            *(depthwise(inner, stride), nn.BatchNorm2d(inner), nn.ReLU()),
            *(conv1x1(inner, channels), nn.BatchNorm2d(channels)),
        )
        self.keeps_shape = stride == 1 and in_channels == channels

    def forward(self, maps: Tensor) -> Tensor:
        result: Tensor = self.conv(maps)
        return maps + result if self.keeps_shape else result


class MobileNetV2(nn.Module):
    """Seven stages of inverted residuals; 32 pixels become 2.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        width: Times the channels of the paper's network.

    Example:
        >>> sum(p.numel() for p in MobileNetV2().parameters())
        812836
    """

    def __init__(self, num_classes: int = 100, in_channels: int = 3, width: float = 0.5) -> None:
        super().__init__()
        channels = int(FIRST * width)
        self.conv1 = nn.Sequential(conv3x3(in_channels, channels, stride=2), nn.BatchNorm2d(channels), nn.ReLU())
        self.blocks = nn.ModuleList()
        for expansion, full, count, stride in STAGES:
            stage = []
            for number in range(count):
                stage.append(InvertedResidual(channels, int(full * width), stride if number == 0 else 1, expansion))
                channels = int(full * width)
            self.blocks.append(nn.Sequential(*stage))
        last = int(LAST * max(1.0, width))
        self.conv2 = nn.Sequential(conv1x1(channels, last), nn.BatchNorm2d(last), nn.ReLU())
        linear = nn.Linear(last, num_classes)
        self.classifier = nn.Sequential(linear)
        init_he(self)
        nn.init.normal_(linear.weight, std=0.01)
        nn.init.zeros_(linear.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, num_classes]``."""
        maps = self.conv1(images)
        for block in self.blocks:
            maps = block(maps)
        logits: Tensor = self.classifier(pooled(self.conv2(maps)))
        return logits
