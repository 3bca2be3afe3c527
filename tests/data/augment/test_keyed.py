"""Transforms of others, made functions of (seed, epoch, sample id)."""

from __future__ import annotations

import random
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from lightning_distill.data.augment import BatchAugmentation, Keyed
from lightning_distill.data.augment.keyed import outline

IMAGES = torch.rand(12, 3, 9, 9, generator=torch.Generator().manual_seed(0))
IDS = torch.arange(12) * 5
JITTER = v2.Compose([v2.RandomRotation(30), v2.ColorJitter(0.5, 0.5), v2.RandomErasing(0.5)])


def from_everywhere(image: Tensor) -> Tensor:
    return image + random.random() + float(np.random.rand()) + torch.rand(())


def views(transform: object = JITTER, ids: Tensor = IDS, epoch: int = 0, seed: int = 0) -> Tensor:
    return BatchAugmentation([Keyed(transform)], seed)(IMAGES[ids // 5], ids, epoch)  # type: ignore[arg-type]


@pytest.mark.parametrize("transform", [JITTER, from_everywhere, v2.RandomResizedCrop(4)])
def test_keyed__is_a_function_of_the_key(transform: object) -> None:
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    whole = views(transform)
    random.seed(2), np.random.seed(2), torch.manual_seed(2)
    order = torch.tensor([7, 0, 3])
    assert torch.equal(views(transform, IDS[order]), whole[order])
    for changed in (views(transform, epoch=1), views(transform, seed=1)):
        assert sum(not torch.equal(a, b) for a, b in zip(changed, whole, strict=True)) >= 10


def test_keyed__samples_have_views_of_their_own() -> None:
    same = IMAGES[:1].expand(12, -1, -1, -1)
    found = BatchAugmentation([Keyed(v2.RandomRotation(180))])(same, IDS, 0)
    assert len({tuple(view.flatten().tolist()) for view in found}) >= 10  # two angles may move the same pixels


def test_keyed__leaves_the_global_generators_alone() -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    expected = draw()
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    views(from_everywhere)
    assert draw() == expected


def test_keyed__leaves_them_alone_after_an_error() -> None:
    def fails(image: Tensor) -> Tensor:
        raise RuntimeError(str(torch.rand(())))

    torch.manual_seed(3)
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError):
        views(fails)
    assert torch.equal(torch.get_rng_state(), before)


def test_keyed__keeps_the_dtype() -> None:
    images = (IMAGES * 255).byte()
    assert BatchAugmentation([Keyed(v2.RandomRotation(30))])(images, IDS, 0).dtype == torch.uint8


def test_keyed__different_sizes() -> None:
    def cut(image: Tensor) -> Tensor:
        return image[:, : int(torch.randint(4, 9, ()))]

    with pytest.raises(ValueError, match="Expected `transform` to give every image of a batch the same size"):
        views(cut)


@pytest.mark.parametrize(
    "other",
    [
        v2.RandomErasing(0.4),
        v2.RandomErasing(0.5, value=1),
        v2.RandomErasing(0.5, value="random"),
        v2.RandAugment(),
        v2.RandAugment(fill=3),
        v2.RandAugment(magnitude=8),
        v2.Compose([v2.RandomErasing(0.5)]),
        v2.Compose([v2.RandomErasing(0.5), v2.Identity()]),
        from_everywhere,
        partial(from_everywhere),
    ],
)
def test_outline__tells_transforms_apart(other: object) -> None:
    assert outline(v2.RandomErasing(0.5)) != outline(other)
    augment = BatchAugmentation([Keyed(other)])  # type: ignore[arg-type]
    assert augment.fingerprint() != BatchAugmentation([Keyed(v2.RandomErasing(0.5))]).fingerprint()


def test_outline__is_the_same_for_equal_transforms() -> None:
    def build() -> nn.Module:
        module: nn.Module = v2.Compose([v2.RandomChoice([v2.RandAugment(), v2.ToDtype(torch.uint8)], [0.3, 0.7])])
        return module

    assert outline(build()) == outline(build())
    assert " at 0x" not in outline(build())


def test_outline__refuses_what_it_cannot_tell_apart() -> None:
    with pytest.raises(ValueError, match="Expected a transform without lambdas"):
        Keyed(v2.Lambda(lambda image: image))
    with pytest.raises(ValueError, match="Give it a `__repr__`"):
        outline({"a": iter([1])})
    with pytest.raises(TypeError, match="Expected `transform` to be callable, image -> image, but got int"):
        Keyed(3)  # type: ignore[arg-type]
