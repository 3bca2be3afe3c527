"""Wide residual networks (Zagoruyko and Komodakis, 2016, https://arxiv.org/abs/1605.07146)."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from lightning_distill.models.cifar.layers import conv1x1, conv3x3, init_he, pooled


class PreactivationBlock(nn.Module):
    """BatchNorm and ReLU come before each convolution; where the width changes, the shortcut sees them, too."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(in_channels), conv3x3(in_channels, channels, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(channels), conv3x3(channels, channels)
        self.relu = nn.ReLU()
        # Named as in the published checkpoints.
        self.convShortcut = None if in_channels == channels else conv1x1(in_channels, channels, stride)

    def forward(self, maps: Tensor) -> Tensor:
        active = self.relu(self.bn1(maps))
        shortcut = maps if self.convShortcut is None else self.convShortcut(active)
        result: Tensor = self.conv2(self.relu(self.bn2(self.conv1(active)))) + shortcut
        return result


class WideResNet(nn.Module):
    """Three stages of pre-activation blocks at full, half and quarter size, then a linear classifier.

    Args:
        depth: ``6 n + 4`` for n blocks in each stage.
        width: Times the channels of a narrow network: 16, 32 and 64.
        num_classes: Number of logits.
        in_channels: Channels of the images.

    Raises:
        ValueError: If no number of blocks gives ``depth``.

    Example:
        >>> sum(p.numel() for p in WideResNet(16, width=2).parameters())
        703284
    """

    def __init__(self, depth: int, width: int, num_classes: int = 100, in_channels: int = 3) -> None:
        super().__init__()
        if depth < 10 or depth % 6 != 4:
            raise ValueError(f"Expected `depth` to be 6 n + 4 (10, 16, 22, ...), but got {depth}.")
        blocks = depth // 6
        self.conv1 = conv3x3(in_channels, 16)
        self.block1 = _stage(16, 16 * width, blocks, stride=1)
        self.block2 = _stage(16 * width, 32 * width, blocks, stride=2)
        self.block3 = _stage(32 * width, 64 * width, blocks, stride=2)
        self.bn1 = nn.BatchNorm2d(64 * width)
        self.relu = nn.ReLU()
        self.fc = nn.Linear(64 * width, num_classes)
        init_he(self)
        nn.init.zeros_(self.fc.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, num_classes]``."""
        maps = self.block3(self.block2(self.block1(self.conv1(images))))
        logits: Tensor = self.fc(pooled(self.relu(self.bn1(maps))))
        return logits


def _stage(in_channels: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = PreactivationBlock(in_channels, channels, stride)
    rest = (PreactivationBlock(channels, channels, 1) for _ in range(blocks - 1))
    return nn.Sequential(OrderedDict(layer=nn.Sequential(first, *rest)))  # "layer" as in the published checkpoints
