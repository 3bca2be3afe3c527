"""Small convolutional networks for small images."""

from __future__ import annotations

from torch import Tensor, nn


def _block(in_channels: int, out_channels: int, pool: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    ]
    return nn.Sequential(*layers, nn.MaxPool2d(2)) if pool else nn.Sequential(*layers)


class ConvNet(nn.Module):
    """Three blocks of 3 x 3 convolutions, averaged to 2 x 2 and classified: the teacher of the bundled experiments.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images ``[B, in_channels, H, W]``, with H and W of at least 4.
        width: Channels of the first block; the other two have twice as many.

    Example:
        >>> sum(p.numel() for p in ConvNet(num_classes=10).parameters())
        58474
    """

    def __init__(self, num_classes: int, in_channels: int = 1, width: int = 32) -> None:
        super().__init__()
        self.layer1 = _block(in_channels, width, pool=False)
        self.layer2 = _block(width, 2 * width)
        self.layer3 = _block(2 * width, 2 * width)
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.fc = nn.Linear(8 * width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, num_classes]``."""
        logits: Tensor = self.fc(self.pool(self.layer3(self.layer2(self.layer1(images)))).flatten(1))
        return logits


class SmallConvNet(nn.Module):
    """Two blocks of 3 x 3 convolutions, averaged to 2 x 2 and classified: the student of the bundled experiments.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images ``[B, in_channels, H, W]``, with H and W of at least 4.
        width: Channels of the first block; the second has half as many more.

    Example:
        >>> sum(p.numel() for p in SmallConvNet(num_classes=10).parameters())
        1466
    """

    def __init__(self, num_classes: int, in_channels: int = 1, width: int = 8) -> None:
        super().__init__()
        self.layer1 = _block(in_channels, width)
        self.layer2 = _block(width, width * 3 // 2)
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.fc = nn.Linear(4 * (width * 3 // 2), num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, num_classes]``."""
        logits: Tensor = self.fc(self.pool(self.layer2(self.layer1(images))).flatten(1))
        return logits
