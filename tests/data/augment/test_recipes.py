"""Named recipes: what they do to images, and that their numbers are those of the papers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_distill.data.augment import BatchAugmentation, RandomCrop, RandomFlip, deit, randaugment, standard
from lightning_distill.data.augment.recipes import _normal_shares

COUNT = 200
IDS = torch.arange(COUNT)
IMAGES = torch.rand(COUNT, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def changed(augment: BatchAugmentation, images: Tensor = IMAGES) -> float:
    """Share of the images that are changed."""
    views = augment(images, IDS, 0)
    return float((views - images).abs().amax(dim=(1, 2, 3)).gt(1e-6).double().mean())


def test_standard__is_crop_and_flip() -> None:
    assert (
        standard(padding=2, seed=5).fingerprint() == BatchAugmentation([RandomCrop(2), RandomFlip()], 5).fingerprint()
    )
    assert standard(padding=0, flip=1.0).operations == (RandomFlip(1.0),)
    assert standard(flip=0).operations == (RandomCrop(4),)


@pytest.mark.parametrize("recipe", [standard, randaugment, deit])
@pytest.mark.parametrize("channels", [1, 3])
def test_recipe__views(recipe: Any, channels: int) -> None:
    images = IMAGES[:16, :channels]
    views = recipe(seed=1)(images, IDS[:16], 3)
    assert views.shape == images.shape
    assert views.dtype == torch.float32
    assert torch.equal(recipe(seed=1)(images[4:6], IDS[4:6], 3), views[4:6])
    assert not torch.equal(recipe(seed=2)(images, IDS[:16], 3), views)
    assert len({recipe(seed=1).fingerprint(), recipe(seed=1).fingerprint(), recipe(seed=2).fingerprint()}) == 2


def test_randaugment__magnitude_0_leaves_images_to_their_8_bits() -> None:
    eight_bits = (IMAGES * 255).round() / 255
    weak = randaugment(num_ops=0, padding=0, flip=0)
    torch.testing.assert_close(weak(eight_bits, IDS, 0), eight_bits, rtol=0, atol=1e-7)
    assert changed(randaugment(magnitude=20, padding=0, flip=0), eight_bits) > 0.7


def test_deit__each_operation_is_carried_out_half_of_the_time() -> None:
    eight_bits = (IMAGES * 255).round() / 255
    nothing = {"crop": None, "flip": 0.0, "erase": 0.0}
    assert changed(deit(**nothing, operation_probability=0.0), eight_bits) == 0
    share = changed(deit(**nothing, num_ops=1), eight_bits)
    # 1 of torchvision's 14 operations is the identity, and autocontrast leaves full-range noise as it is.
    assert abs(share - 0.5 * 12 / 14) < 4 * (0.25 / COUNT) ** 0.5


def test_deit__erasing_is_noise_of_the_images_own_mean() -> None:
    grey = torch.full((COUNT, 1, 32, 32), 60 / 255)
    views = deit(crop=None, num_ops=0, mean=(0.3,), std=(0.1,))(grey, IDS, 0)
    erased = (views - grey).abs() > 1e-5
    share = erased.any(dim=3).any(dim=2).double().mean()
    assert abs(float(share) - 0.25) < 4 * (0.25 * 0.75 / COUNT) ** 0.5
    noise = views[erased]
    assert abs(float(noise.mean()) - 0.3) < 0.01
    assert abs(float(noise.std()) - 0.1) < 0.01


def test_deit__crop_keeps_the_size_and_zooms() -> None:
    ramp = torch.linspace(0, 1, 24).expand(COUNT, 3, 20, 24).contiguous()
    views = deit(flip=0.0, num_ops=0, erase=0.0)(ramp, IDS, 0)
    assert views.shape == ramp.shape
    spans = views[:, 0, 10, -1] - views[:, 0, 10, 0]
    assert 0.2 < float(spans.min()) < 0.5
    assert float(spans.max()) > 0.9


@pytest.mark.parametrize(("magnitude", "std"), [(9.0, 0.5), (5.0, 1.0), (0.0, 0.5)])
def test_deit__magnitudes_are_normal(magnitude: float, std: float) -> None:
    shares = np.array(_normal_shares(magnitude * 3, std * 3))
    drawn = np.clip(np.random.default_rng(0).normal(magnitude, std, 400_000), 0, 10) * 3
    expected = np.bincount(np.rint(drawn).astype(int), minlength=31) / len(drawn)
    assert abs(shares.sum() - 1) < 1e-4
    assert np.abs(shares - expected).max() < 0.004
    assert _normal_shares(27.0, 0.0)[27] == 1.0


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: deit(magnitude=11), "Expected `magnitude` to be a number from 0 to 10, but got 11"),
        (lambda: deit(erase=1.5), r"Expected `erase` to be in \[0, 1\], but got 1.5"),
        (lambda: deit(crop=(0.5, 0.1)), r"Expected `crop` to be the least and the most share of the area"),
        (lambda: randaugment(magnitude=31), "Expected `magnitude` to be a number from 0 to 30, but got 31"),
        (lambda: standard(padding=-1), "Expected `padding` to be a whole number"),
        (lambda: standard(padding_mode="refleckt"), "Did you mean 'reflect'"),
    ],
)
def test_recipe__refuses(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
