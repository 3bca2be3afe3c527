"""From stored samples to what the networks see."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_distill.data import Prepare, TensorDataModule
from lightning_distill.types import Batch

IMAGES = torch.arange(6 * 3 * 2 * 2, dtype=torch.uint8).reshape(6, 3, 2, 2)
TARGET = torch.tensor([0, 1, 0, 1, 0, 1])


class AddIdAndEpoch:
    """Makes visible what an augmentation is given."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def __call__(self, images: Tensor, sample_ids: Tensor, epoch: int) -> Tensor:
        self.seen.append(images)
        return images + sample_ids.reshape(-1, 1, 1, 1) + 100 * epoch

    def fingerprint(self) -> str:
        return hashlib.sha256(b"add").hexdigest()


def module(**options: Any) -> TensorDataModule:
    given: dict[str, Any] = {"num_classes": 2, "batch_size": 4} | options
    return TensorDataModule((IMAGES, TARGET), (IMAGES, TARGET), (IMAGES, TARGET), **given)


def test_uint8__becomes_floats_that_are_normalised_per_channel() -> None:
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.25, 2.0]
    batch = next(iter(module(mean=mean, std=std).val_dataloader()))
    expected = (IMAGES[:4] / 255 - torch.tensor(mean).reshape(3, 1, 1)) / torch.tensor(std).reshape(3, 1, 1)
    assert batch.inputs.dtype == torch.float32
    torch.testing.assert_close(batch.inputs, expected)


def test_floats__are_not_rescaled() -> None:
    assert torch.equal(Prepare()(Batch(torch.full((1, 2), 7.0)), 0).inputs, torch.full((1, 2), 7.0))


def test_augment__gets_unnormalised_images_ids_and_epoch_in_training_only() -> None:
    augment = AddIdAndEpoch()
    data = module(augment=augment, mean=[0.5] * 3, std=[0.5] * 3)
    loader = data.train_dataloader()
    loader.sampler.set_epoch(3)  # type: ignore[attr-defined]
    for batch in loader:
        shown = IMAGES[batch.sample_ids] / 255 + batch.sample_ids.reshape(-1, 1, 1, 1) + 300
        torch.testing.assert_close(batch.inputs, (shown - 0.5) / 0.5)
    seen = len(augment.seen)
    assert all(float(images.max()) <= 1 for images in augment.seen)
    for batch in [*data.val_dataloader(), *data.test_dataloader()]:
        torch.testing.assert_close(batch.inputs, (IMAGES[batch.sample_ids] / 255 - 0.5) / 0.5)
    torch.testing.assert_close(data.example_input, (IMAGES[:2] / 255 - 0.5) / 0.5)
    assert len(augment.seen) == seen == 2


def test_fingerprint__changes_with_what_is_done_to_images() -> None:
    others = [module(), module(augment=AddIdAndEpoch()), module(mean=[0.5] * 3, std=[0.5] * 3), module(sampler="sqrt")]
    assert len({other.fingerprint() for other in others}) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mean": [0.5]}, "`mean` and `std` to hold one number per channel"),
        ({"mean": [0.5], "std": [0.0]}, "every `std` above 0"),
        ({"mean": [0.5] * 2, "std": [0.5] * 2}, "for each of the 3 channels, but got 2"),
    ],
    ids=["one", "zero", "channels"],
)
def test_bad_normalisation__is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        module(**options)


def test_augment__needs_images() -> None:
    rows = (torch.zeros(4, 2), torch.zeros(4, dtype=torch.long))
    with pytest.raises(ValueError, match=r"images \[N, C, H, W\] where `augment` is set, but got Tensor\[2, 2\]"):
        TensorDataModule(rows, rows, num_classes=2, augment=AddIdAndEpoch())


def test_augment__refuses_a_teacher_input_that_it_would_not_change() -> None:
    samples = Batch(IMAGES, TARGET, None, IMAGES)
    with pytest.raises(ValueError, match="Expected no `augment` where samples bring a `teacher_input`"):
        TensorDataModule(samples, samples, num_classes=2, augment=AddIdAndEpoch())


def test_prepared_dataset__repeated_samples_have_a_view_for_each_look() -> None:
    from lightning_distill.data.augment import standard

    images = torch.rand(12, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    augment = standard(padding=2)
    data = TensorDataModule((images, torch.arange(12) % 3), (images, torch.arange(12) % 3), num_classes=3)
    repeated = TensorDataModule(
        (images, torch.arange(12) % 3), (images, torch.zeros(12).long()), num_classes=3, augment=augment, repeats=3
    )
    loader = repeated.train_dataloader()
    loader.sampler.set_epoch(5)  # type: ignore[attr-defined]
    (batch,) = list(loader)
    assert torch.equal(batch.sample_ids[:4], batch.sample_ids[4:8])
    assert len(batch.sample_ids.unique()) == 4
    for look in range(3):
        part = slice(4 * look, 4 * look + 4)
        ids = batch.sample_ids[part]
        assert torch.equal(batch.inputs[part], augment(images[ids], ids, 15 + look))
        assert torch.equal(batch.target[part], ids % 3)
    assert data.fingerprint() != repeated.fingerprint()


def test_repeats__of_less_than_one() -> None:
    samples = (torch.rand(4, 2), torch.arange(4) % 2)
    with pytest.raises(ValueError, match="Expected `repeats` to be a whole number of at least 1, but got 0"):
        TensorDataModule(samples, samples, num_classes=2, repeats=0)
