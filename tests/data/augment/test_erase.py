"""Rectangles that are erased: their size, shape and place."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lightning_distill.data.augment import Cutout, Draws, RandomErasing

COUNT = 4000
ONES = torch.ones(COUNT, 2, 20, 30)


def erased(operation: RandomErasing | Cutout) -> Tensor:
    """``[B, H, W]``: which pixels were set, the same in all channels."""
    views = operation(ONES, Draws.of(0, 0, torch.arange(COUNT), operation.draws))
    assert torch.equal(views[:, 0], views[:, 1])
    return views[:, 0] == operation.value


def test_random_erasing__share_of_samples() -> None:
    share = erased(RandomErasing(p=0.25)).any(dim=(1, 2)).double().mean()
    assert abs(float(share) - 0.25) < 4 * (0.25 * 0.75 / COUNT) ** 0.5


def test_random_erasing__is_a_whole_rectangle_inside() -> None:
    pixels = erased(RandomErasing(p=1.0, scale=(0.1, 0.2), ratio=(0.5, 2.0)))
    rows, columns = pixels.any(dim=2), pixels.any(dim=1)
    assert torch.equal(pixels, rows.unsqueeze(2) & columns.unsqueeze(1))
    heights, widths = rows.sum(dim=1), columns.sum(dim=1)
    for covered, lengths in ((rows, heights), (columns, widths)):  # one piece: it starts once
        starts = (covered[:, 1:] & ~covered[:, :-1]).sum(dim=1) + covered[:, 0]
        assert int(starts.max()) == 1
        assert int(lengths.min()) >= 1
    area = (heights * widths).double() / 600
    assert float(area.min()) > 0.08
    assert float(area.max()) < 0.22
    assert abs(float(area.mean()) - 0.15) < 0.005
    ratio = (heights.double() / widths).log()
    assert abs(float(ratio.mean())) < 0.05


def test_random_erasing__reaches_the_corners() -> None:
    pixels = erased(RandomErasing(p=1.0))
    corners = pixels[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert bool(corners.any(dim=0).all())


def test_random_erasing__value() -> None:
    operation = RandomErasing(p=1.0, value=-3.0)
    views = operation(ONES, Draws.of(0, 0, torch.arange(COUNT), operation.draws))
    assert set(views.unique().tolist()) == {-3.0, 1.0}


def test_cutout__is_a_square_that_may_stand_out() -> None:
    pixels = erased(Cutout(length=6))
    areas = pixels.sum(dim=(1, 2))
    assert int(areas.max()) == 36
    assert int(areas.min()) == 9  # a centre in the corner leaves a quarter
    assert bool(pixels.any(dim=0).all())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: RandomErasing(p=2.0), r"Expected `p` to be in \[0, 1\]"),
        (lambda: RandomErasing(scale=(0.5, 0.1)), "Expected `scale` to be two rising numbers above 0 and up to 1"),
        (lambda: RandomErasing(scale=(0.5, 1.5)), "and up to 1, but got"),
        (lambda: RandomErasing(ratio=(0.0, 1.0)), "Expected `ratio` to be two rising numbers above 0, but got"),
        (lambda: Cutout(0), "Expected `length` to be a whole number of at least 1, but got 0"),
    ],
)
def test_erase__refuses(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()  # type: ignore[operator]
