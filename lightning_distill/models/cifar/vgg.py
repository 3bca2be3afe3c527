"""VGG with BatchNorm and one linear layer, for CIFAR (https://arxiv.org/abs/1409.1556)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_distill.checks import check_choice
from lightning_distill.models.cifar.layers import init_he, pooled

WIDTHS = (64, 128, 256, 512, 512)
# Convolutions in each of the five blocks, by depth: those and the original's three linear layers.
CONVOLUTIONS = {8: (1, 1, 1, 1, 1), 11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
HALVED = (0, 1, 2)  # blocks that are followed by pooling: 32 pixels become 4


class VGG(nn.Module):
    """Five blocks of 3 x 3 convolutions with BatchNorm, then the mean of each channel and a linear classifier.

    Args:
        depth: 8, 11, 13, 16 or 19.
        num_classes: Number of logits.
        in_channels: Channels of the images.

    Raises:
        ValueError: If ``depth`` is another.

    Example:
        >>> sum(p.numel() for p in VGG(8).parameters())
        3965028
    """

    def __init__(self, depth: int, num_classes: int = 100, in_channels: int = 3) -> None:
        super().__init__()
        check_choice("depth", depth, CONVOLUTIONS)
        for number, (count, width) in enumerate(zip(CONVOLUTIONS[depth], WIDTHS, strict=True)):
            self.add_module(f"block{number}", _block(in_channels, width, count))
            in_channels = width
        self.classifier = nn.Linear(WIDTHS[-1], num_classes)
        init_he(self)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, num_classes]``."""
        maps = images
        for number in range(len(WIDTHS)):
            maps = F.relu(self.get_submodule(f"block{number}")(maps))
            if number in HALVED:
                maps = F.max_pool2d(maps, kernel_size=2)
        logits: Tensor = self.classifier(pooled(maps))
        return logits


def _block(in_channels: int, width: int, count: int) -> nn.Sequential:
    """Convolutions with BatchNorm and ReLU; the last ReLU is left to the caller, so that both sides can be tapped."""
    layers: list[nn.Module] = []
    for _ in range(count):
        layers += [nn.Conv2d(in_channels, width, kernel_size=3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        in_channels = width
    return nn.Sequential(*layers[:-1])
