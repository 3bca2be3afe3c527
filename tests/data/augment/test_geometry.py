"""Crops and flips against slices of padded images."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_distill.data.augment import Draws, RandomCrop, RandomFlip
from lightning_distill.data.augment.geometry import move_pixels

IDS = torch.arange(200)


def images(count: int = 200, channels: int = 2, height: int = 6, width: int = 5) -> Tensor:
    return torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(0)) + 1


def draws(count: int, seed: int = 0) -> Draws:
    return Draws.of(seed, 0, IDS, count)


@pytest.mark.parametrize(("mode", "numpy_mode"), [("constant", "constant"), ("reflect", "reflect"), ("edge", "edge")])
@pytest.mark.parametrize("window", [None, 3, (4, 7)])
def test_random_crop__is_a_window_of_the_padded_image(mode: str, numpy_mode: str, window: int | None) -> None:
    given = images()
    crop = RandomCrop(padding=2, window=window, padding_mode=mode)  # type: ignore[arg-type]
    rows, columns = crop.size(6, 5)
    views = move_pixels(given, [(crop, draws(2))])
    top = draws(2).integers(0, 6 + 4 - rows + 1)
    left = draws(2).integers(1, 5 + 4 - columns + 1)
    padded = np.pad(given.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)), mode=numpy_mode)  # type: ignore[call-overload]
    for i, view in enumerate(views):
        expected = padded[i, :, top[i] : top[i] + rows, left[i] : left[i] + columns]
        assert np.array_equal(view.numpy(), expected)


def test_random_crop__reaches_every_place_equally_often() -> None:
    ids = torch.arange(9 * 1000)
    marked = torch.zeros(1, 1, 3, 3)
    marked[0, 0, 1, 1] = 1  # its place in the view tells the offset
    views = move_pixels(marked.expand(len(ids), -1, -1, -1), [(RandomCrop(padding=1), Draws.of(0, 0, ids, 2))])
    counts = views.sum(dim=0).flatten()
    assert counts.sum() == len(ids)
    assert float((counts - 1000).abs().max()) < 4 * 1000**0.5


@pytest.mark.parametrize("axis", ["horizontal", "vertical"])
def test_random_flip__turns_the_drawn_samples(axis: str) -> None:
    given = images()
    views = move_pixels(given, [(RandomFlip(axis=axis), draws(1))])  # type: ignore[arg-type]
    turned = given.flip(-1 if axis == "horizontal" else -2)
    flipped = draws(1).uniform(0) < 0.5
    assert torch.equal(views, torch.where(flipped[:, None, None, None], turned, given))
    assert 70 < int(flipped.sum()) < 130


@pytest.mark.parametrize(("p", "share"), [(0.0, 0), (1.0, 200)])
def test_random_flip__never_and_always(p: float, share: int) -> None:
    given = images()
    views = move_pixels(given, [(RandomFlip(p), draws(1))])
    assert sum(not torch.equal(a, b) for a, b in zip(views, given, strict=True)) == share


def test_move_pixels__one_step_equals_one_after_the_other() -> None:
    chain = [
        RandomCrop(padding=2),
        RandomFlip(),
        RandomCrop(window=4),
        RandomCrop(padding=1),
        RandomFlip(axis="vertical"),
    ]
    own = draws(8).split([op.draws for op in chain])
    together = move_pixels(images(), list(zip(chain, own, strict=True)))
    apart = images()
    for operation, numbers in zip(chain, own, strict=True):
        apart = move_pixels(apart, [(operation, numbers)])
    assert torch.equal(together, apart)
    assert (together == 0).any()


def test_move_pixels__what_was_filled_between_two_crops_stays_filled() -> None:
    # The inner crop may cut a border that the padding of the outer one must not bring back.
    chain = [RandomCrop(window=1), RandomCrop(padding=1, window=3)]
    own = draws(4).split([2, 2])
    views = move_pixels(images(), list(zip(chain, own, strict=True)))
    assert torch.equal((views != 0).sum(dim=(2, 3)), torch.ones(200, 2))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float64, torch.int32])
def test_move_pixels__any_dtype(dtype: torch.dtype) -> None:
    given = (images() * 50).to(dtype)
    operations = [(RandomCrop(padding=1), draws(2)), (RandomFlip(), draws(1))]
    views = move_pixels(given, operations)
    assert views.dtype == dtype
    assert torch.equal(views, move_pixels(given.double(), operations).to(dtype))


def test_move_pixels__channels_last_input_gives_the_same_views() -> None:
    operations = [(RandomCrop(padding=1), draws(2))]
    given = images()
    last = given.to(memory_format=torch.channels_last)
    assert torch.equal(move_pixels(last, operations), move_pixels(given, operations))


def test_move_pixels__keeps_what_it_moves() -> None:
    given = images()
    before = given.clone()
    view = move_pixels(given, [(RandomFlip(1.0), draws(1))])
    assert torch.equal(given, before)
    assert Counter(view.flatten().tolist()) == Counter(given.flatten().tolist())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: RandomCrop(padding=-1), "Expected `padding` to be a whole number"),
        (lambda: RandomCrop(padding=1.5), "Expected `padding` to be a whole number"),
        (lambda: RandomCrop(padding_mode="wrap"), "Expected `padding_mode` to be one of 'constant', 'reflect', 'edge'"),
        (lambda: RandomCrop(window=9).size(6, 6), "Expected `window` to fit into the padded image of 6 x 6 pixels"),
        (lambda: RandomCrop(window=0).size(6, 6), "but got 0 x 0"),
        (lambda: RandomCrop(6, padding_mode="reflect").size(6, 6), "Expected `padding` to be below the image's size"),
        (lambda: RandomFlip(1.5), r"Expected `p` to be in \[0, 1\], but got 1.5"),
        (lambda: RandomFlip(axis="vertikal"), "Did you mean 'vertical'"),
    ],
)
def test_geometry__refuses(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()  # type: ignore[operator]
