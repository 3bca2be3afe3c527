"""Generated shapes: the class of every pixel is what its outline says."""

from __future__ import annotations

import pytest
import torch

from lightning_distill.data import NO_LABEL, ShapesDataModule
from lightning_distill.data.shapes import _distance, draw_shapes


def test_images__are_a_function_of_the_seed() -> None:
    first, second = ShapesDataModule(samples=4, val_samples=2), ShapesDataModule(samples=4, val_samples=2)
    assert first.fingerprint() == second.fingerprint()
    assert first.fingerprint() != ShapesDataModule(samples=4, val_samples=2, data_seed=1).fingerprint()
    images, _ = draw_shapes(8, 24, seed=3)
    assert images.min() >= 0
    assert images.max() <= 1


def test_pixels__bright_where_there_is_a_shape() -> None:
    images, target = draw_shapes(50, 24, seed=0)
    brightness = images.mean(dim=1)
    assert brightness[target > 0].mean() > 0.6
    assert brightness[target == 0].mean() < 0.3
    outline = (target == NO_LABEL).float().mean()
    assert 0.05 < outline < 0.25


@pytest.mark.parametrize(("kind", "area"), [(1, torch.pi), (2, 1.7**2), (3, 1.8562**2 / 2)])
def test_outline__encloses_the_shape(kind: int, area: float) -> None:
    """In squares of the radius: a disc, a square of side 1.7, a triangle as wide as it is high."""
    y, x = torch.meshgrid(torch.arange(-60.0, 61), torch.arange(-60.0, 61), indexing="ij")
    distance = _distance(y.unsqueeze(0), x.unsqueeze(0), torch.full((1, 1, 1), 40.0), torch.full((1, 1, 1), kind))
    assert float((distance < 0).sum() / 40**2) == pytest.approx(area, rel=0.04)


def test_train_samples__are_the_first_and_all_for_the_teacher() -> None:
    data = ShapesDataModule(samples=6, train_samples=2, val_samples=2)
    assert data.train_dataset.sample_ids.tolist() == [0, 1]
    assert len(data.full().train_dataset) == 6
    assert data.fingerprint() != data.full().fingerprint()
    assert data.dataset_size == 6
    with pytest.raises(ValueError, match="`train_samples` to be at most 6, but got 7"):
        ShapesDataModule(samples=6, train_samples=7)
    with pytest.raises(ValueError, match="`size` to be a whole number of at least 8, but got 4"):
        ShapesDataModule(size=4)


def test_batch__holds_maps() -> None:
    data = ShapesDataModule(samples=6, val_samples=2, batch_size=3)
    batch = next(iter(data.test_dataloader()))
    assert batch.inputs.shape == (2, 3, 24, 24)
    assert batch.target.shape == (2, 24, 24)
    assert batch.sample_ids.tolist() == [8, 9]
    assert batch.target.dtype == torch.long
