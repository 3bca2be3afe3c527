"""Parts of a network that stay as they are."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lightning_distill.models.freezing import freeze


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.ones(2))
        self.layer1 = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        self.layer2 = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        self.head = nn.Linear(2, 3)


def trained(network: nn.Module) -> list[str]:
    return [name for name, parameter in network.named_parameters() if parameter.requires_grad]


@pytest.mark.parametrize(
    ("paths", "left"),
    [
        (["layer1"], ["token", "layer2.0.weight", "layer2.0.bias", "layer2.1.weight", "layer2.1.bias", "head"]),
        (["layer*"], ["token", "head"]),
        (["layer?", "token"], ["head"]),
        (["*.1"], ["token", "layer1.0.weight", "layer1.0.bias", "layer2.0.weight", "layer2.0.bias", "head"]),
        (
            ["*.bias"],
            ["token", "layer1.0.weight", "layer1.1.weight", "layer2.0.weight", "layer2.1.weight", "head.weight"],
        ),
        ([], None),
    ],
)
def test_freeze__leaves(paths: list[str], left: list[str] | None) -> None:
    network = Net()
    expected = trained(network) if left is None else [n for n in trained(network) if n in left or n[:4] in left]
    freeze(network, paths)
    assert trained(network) == expected


def test_freeze__returns_the_modules_once() -> None:
    network = Net()
    network.again = network.layer1  # the same module under a second name
    found = freeze(network, ["layer1", "layer*", "again"])
    assert found[0] is network.layer1
    assert len({id(module) for module in found}) == 6
    assert network.layer1.training


def test_freeze__refuses() -> None:
    with pytest.raises(ValueError, match=r"paths of modules or parameters of Net.* 'layr1' fits none. .*'layer1'"):
        freeze(Net(), ["layr1"])
    with pytest.raises(TypeError, match=r"to be a list of module paths, but got a string. Write \['layer1'\]"):
        freeze(Net(), "layer1")
