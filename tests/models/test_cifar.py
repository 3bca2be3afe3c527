"""The benchmark's networks: published parameter counts, names and shapes."""

from __future__ import annotations

import pytest
import torch

from lightning_distill.models import cifar_model
from lightning_distill.models.cifar import NETWORKS, VGG, ResNet, WideResNet
from lightning_distill.models.cifar.layers import shuffle_channels

# With 100 classes. Those of the pairs that papers report are the benchmark's (https://arxiv.org/abs/1910.10699); the
# others hold what these networks have now.
PARAMETERS = {
    "resnet8": 83_892,
    "resnet14": 181_108,
    "resnet20": 278_324,
    "resnet32": 472_756,
    "resnet44": 667_188,
    "resnet56": 861_620,
    "resnet110": 1_736_564,
    "resnet8x4": 1_233_540,
    "resnet32x4": 7_433_860,
    "wrn_16_1": 180_916,
    "wrn_16_2": 703_284,
    "wrn_40_1": 569_780,
    "wrn_40_2": 2_255_156,
    "vgg8": 3_965_028,
    "vgg11": 9_277_284,
    "vgg13": 9_462_180,
    "vgg16": 14_774_436,
    "vgg19": 20_086_692,
    "resnet50": 23_705_252,
    "mobilenet_v2": 812_836,
    "shufflenet_v1": 949_258,
    "shufflenet_v2": 1_355_528,
}
# Some names of the published checkpoints, and what they hold.
NAMES = {
    "resnet8x4": {"layer2.0.downsample.0.weight": [128, 64, 1, 1], "layer3.0.bn2.running_var": [256]},
    "wrn_16_2": {"block1.layer.0.convShortcut.weight": [32, 16, 1, 1], "block3.layer.1.conv2.weight": [128, 128, 3, 3]},
    "vgg13": {"block0.3.weight": [64, 64, 3, 3], "block4.4.bias": [512], "classifier.weight": [100, 512]},
    "resnet50": {"layer1.0.shortcut.0.weight": [256, 64, 1, 1], "linear.weight": [100, 2048]},
    "mobilenet_v2": {"blocks.1.0.conv.3.weight": [48, 1, 3, 3], "classifier.0.weight": [100, 1280]},
    "shufflenet_v1": {"layer1.0.conv3.weight": [216, 18, 1, 1], "layer3.3.bn3.weight": [960]},
    "shufflenet_v2": {"layer1.0.conv5.weight": [58, 58, 1, 1], "conv2.weight": [1024, 464, 1, 1]},
}


def test_every_network_is_counted() -> None:
    assert PARAMETERS.keys() == NETWORKS.keys()


@pytest.mark.parametrize("name", NETWORKS)
def test_parameters__are_the_published_ones(name: str) -> None:
    with torch.device("meta"):
        network = cifar_model(name)
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", NAMES)
def test_names__are_those_of_the_published_checkpoints(name: str) -> None:
    with torch.device("meta"):
        state = cifar_model(name).state_dict()
    assert {key: list(state[key].shape) for key in NAMES[name]} == NAMES[name]


@pytest.mark.parametrize("name", [*NAMES, "resnet20"])
def test_logits__for_other_channels_and_sizes(name: str) -> None:
    torch.manual_seed(0)
    network = cifar_model(name, num_classes=7, in_channels=1).eval()
    assert network(torch.rand(2, 1, 16, 16)).shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("resnet8x4", {"layer1": 32, "layer2": 16, "layer3": 8}),
        ("wrn_16_2", {"block1": 32, "block2": 16, "block3": 8}),
        ("vgg8", {"block0": 32, "block1": 16, "block2": 8, "block3": 4, "block4": 4}),
        ("resnet50", {"layer1": 32, "layer4": 4}),
        ("mobilenet_v2", {"blocks.1": 16, "blocks.2": 8, "blocks.4": 4, "blocks.6": 2}),
        ("shufflenet_v1", {"layer1": 16, "layer2": 8, "layer3": 4}),
        ("shufflenet_v2", {"layer1": 16, "layer2": 8, "layer3": 4}),
    ],
)
def test_sizes__of_the_stages_for_32_pixels(name: str, sizes: dict[str, int]) -> None:
    torch.manual_seed(0)
    network = cifar_model(name).eval()
    seen: dict[str, int] = {}
    for path in sizes:
        network.get_submodule(path).register_forward_hook(
            lambda _, __, out, path=path: seen.update({path: out.shape[-1]})
        )
    network(torch.rand(1, 3, 32, 32))
    assert seen == sizes


def test_signal__keeps_its_size_at_the_start() -> None:
    """He's initialisation: a deep network neither fades nor explodes."""
    torch.manual_seed(0)
    deviation = cifar_model("resnet56")(torch.randn(16, 3, 32, 32)).std().item()
    assert 0.1 < deviation < 10


def test_shuffle__is_a_transposition() -> None:
    maps = torch.arange(12.0).view(1, 12, 1, 1)
    assert shuffle_channels(maps, 3).flatten().tolist() == maps.view(3, 4).T.flatten().tolist()
    assert torch.equal(shuffle_channels(shuffle_channels(maps, 3), 4), maps)


def test_bad_depth() -> None:
    with pytest.raises(ValueError, match=r"`depth` to be 6 n \+ 2 .*but got 18"):
        ResNet(18)
    with pytest.raises(ValueError, match=r"`depth` to be 6 n \+ 4 .*but got 18"):
        WideResNet(18, 2)
    with pytest.raises(ValueError, match=r"`depth` to be one of 8, 11, 13, 16, 19, but got 12"):
        VGG(12)


def test_unknown_name__names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"but got 'resnet8x44'. Near it: resnet8x4"):
        cifar_model("resnet8x44")
