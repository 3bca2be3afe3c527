"""The bundled networks, and two heads on any backbone."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
import torchvision
import transformers
from torch import Tensor, nn

from lightning_distill import DeiTDistiller, export
from lightning_distill.models import MLP, ConvNet, SmallConvNet, TwoHeadStudent, TwoHeadViT, read_heads


def size(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_student_is_at_least_ten_times_smaller() -> None:
    assert size(ConvNet(10)) >= 10 * size(SmallConvNet(10))
    assert size(ConvNet(10)) >= 10 * size(MLP(64, 10))


@pytest.mark.parametrize("network", [ConvNet(7), SmallConvNet(7), MLP(64, 7)], ids=lambda n: type(n).__name__)
def test_exports_for_any_batch_size(network: nn.Module, tmp_path: Any) -> None:
    export.save(network.eval(), tmp_path / "a.pt2", torch.zeros(2, 1, 8, 8))
    images = torch.rand(5, 1, 8, 8)
    torch.testing.assert_close(torch.export.load(tmp_path / "a.pt2").module()(images), network(images))


def test_two_head_vit__exports_its_average(tmp_path: Any) -> None:
    network = TwoHeadViT(10)
    distiller = DeiTDistiller(network, ConvNet(10), example_input=torch.zeros(2, 1, 8, 8))
    distiller.eval().save(tmp_path / "a.pt2")
    images = torch.rand(5, 1, 8, 8)
    expected = sum(network(images)) / 2
    torch.testing.assert_close(torch.export.load(tmp_path / "a.pt2").module()(images), expected)


def test_two_head_vit__bad_sizes() -> None:
    with pytest.raises(ValueError, match="`patch_size` to divide `image_size`"):
        TwoHeadViT(10, patch_size=3)
    with pytest.raises(ValueError, match="`heads` to divide `dim`"):
        TwoHeadViT(10, heads=5)


IMAGES = torch.zeros(2, 3, 32, 32)


@pytest.mark.parametrize(
    ("make", "width"),
    [
        (lambda: timm.create_model("resnet10t"), 512),
        (lambda: timm.create_model("resnet10t", num_classes=0), 512),
        (lambda: timm.create_model("vit_tiny_patch16_224", img_size=32), 192),
        (lambda: torchvision.models.resnet18(), 512),
        (lambda: torchvision.models.mobilenet_v3_small(), 1024),
        (lambda: nn.Conv2d(3, 6, 3), 6),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(3072, 9), nn.ReLU()), 9),
    ],
    ids=[
        "timm-resnet",
        "timm-features",
        "timm-vit",
        "torchvision-resnet",
        "torchvision-mobilenet",
        "map",
        "no-classifier",
    ],
)
def test_two_head_student__any_backbone(make: Any, width: int) -> None:
    student = TwoHeadStudent(make(), num_classes=5, example_input=IMAGES)
    assert student.class_head.in_features == width
    student.eval()
    heads = read_heads(student, IMAGES)
    assert heads.class_logits.shape == heads.distillation_logits.shape == (2, 5)


def test_two_head_student__transformers() -> None:
    config = transformers.ViTConfig(hidden_size=12, num_hidden_layers=1, num_attention_heads=2, image_size=32)
    student = TwoHeadStudent(transformers.ViTModel(config), num_classes=5, example_input=IMAGES)
    assert student.class_head.in_features == 12


def test_two_head_student__leaves_no_trace() -> None:
    backbone = torchvision.models.resnet18()
    before = backbone.bn1.running_mean.clone()
    TwoHeadStudent(backbone, 5, torch.ones(2, 3, 32, 32))
    assert torch.equal(before, backbone.bn1.running_mean)
    assert backbone.training


def test_two_head_student__wrong_head() -> None:
    with pytest.raises(ValueError, match=r"got 'fcc'. Near it: fc"):
        TwoHeadStudent(torchvision.models.resnet18(), 5, IMAGES, head="fcc")


def test_read_heads__named_outputs() -> None:
    class Named(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"logits": x, "cls_logits": x + 1, "distillation_logits": x + 3}

    heads = read_heads(Named(), torch.zeros(1, 2))
    assert heads.average.tolist() == [[2.0, 2.0]]


def test_read_heads__one_output() -> None:
    with pytest.raises(ValueError, match=r"two outputs.*but got Tensor\[1, 2\].*TwoHeadStudent"):
        read_heads(nn.Identity(), torch.zeros(1, 2))
