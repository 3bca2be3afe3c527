"""The networks of the CIFAR-100 benchmark that everyone reports, by name (https://arxiv.org/abs/1910.10699).

Their modules are named as in the published checkpoints of that benchmark, which therefore load as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from lightning_distill.models.cifar.bottleneck import resnet50
from lightning_distill.models.cifar.mobilenet import MobileNetV2
from lightning_distill.models.cifar.resnet import ResNet
from lightning_distill.models.cifar.shufflenet_v1 import ShuffleNetV1
from lightning_distill.models.cifar.shufflenet_v2 import ShuffleNetV2
from lightning_distill.models.cifar.vgg import CONVOLUTIONS, VGG
from lightning_distill.models.cifar.wrn import WideResNet
from lightning_distill.models.pretrained import check_name

NETWORKS: dict[str, Callable[[int, int], nn.Module]] = {
    **{f"resnet{depth}": partial(ResNet, depth) for depth in (8, 14, 20, 32, 44, 56, 110)},
    **{f"resnet{depth}x4": partial(ResNet, depth, widths=(32, 64, 128, 256)) for depth in (8, 32)},
    **{f"wrn_{depth}_{width}": partial(WideResNet, depth, width) for depth in (16, 40) for width in (1, 2)},
    **{f"vgg{depth}": partial(VGG, depth) for depth in CONVOLUTIONS},
    "resnet50": resnet50,
    "mobilenet_v2": MobileNetV2,
    "shufflenet_v1": ShuffleNetV1,
    "shufflenet_v2": ShuffleNetV2,
}


def cifar_model(model_name: str, num_classes: int = 100, in_channels: int = 3) -> nn.Module:
    """A network for images of 32 x 32 pixels, with random weights.

    Args:
        model_name: ``resnet8|14|20|32|44|56|110``, ``resnet8x4|32x4``, ``wrn_16_1|16_2|40_1|40_2``,
            ``vgg8|11|13|16|19`` (all with BatchNorm), ``resnet50``, ``mobilenet_v2`` (half as wide), ``shufflenet_v1``,
            ``shufflenet_v2``.
        num_classes: Number of logits.
        in_channels: Channels of the images ``[B, in_channels, H, W]``; sizes other than 32 work, too.

    Raises:
        ValueError: If there is no such network, with the nearest names.

    Example:
        >>> sum(p.numel() for p in cifar_model("resnet8x4", num_classes=100).parameters())
        1233540
    """
    check_name(model_name, NETWORKS, "lightning_distill.models.cifar")
    return NETWORKS[model_name](num_classes, in_channels)


__all__ = [
    "NETWORKS",
    "VGG",
    "MobileNetV2",
    "ResNet",
    "ShuffleNetV1",
    "ShuffleNetV2",
    "WideResNet",
    "cifar_model",
    "resnet50",
]
