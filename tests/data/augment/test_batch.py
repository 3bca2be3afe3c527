"""Views of whole batches: functions of (seed, epoch, sample id) and of nothing else."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from lightning_distill.data.augment import BatchAugmentation, Cutout, RandomCrop, RandomErasing, RandomFlip

OPERATIONS = [RandomCrop(padding=2), RandomErasing(), RandomFlip(), RandomFlip(axis="vertical"), Cutout(3)]
IMAGES = torch.rand(64, 3, 8, 8, generator=torch.Generator().manual_seed(1)) + 1
IDS = torch.arange(64) * 7


def views(ids: Tensor = IDS, epoch: int = 0, seed: int = 0) -> Tensor:
    return BatchAugmentation(OPERATIONS, seed)(IMAGES[ids // 7], ids, epoch)


def test_batch_augmentation__does_not_depend_on_the_batch() -> None:
    whole = views()
    order = torch.randperm(64, generator=torch.Generator().manual_seed(2))
    assert torch.equal(views(IDS[order]), whole[order])
    assert torch.equal(views(IDS[5:6]), whole[5:6])
    assert torch.equal(views(IDS[[3, 3, 9]]), whole[[3, 3, 9]])


def test_batch_augmentation__does_not_touch_or_read_the_global_generator() -> None:
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    first = views()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(views(), first)


@pytest.mark.parametrize("changed", [{"epoch": 1}, {"seed": 1}], ids=["epoch", "seed"])
def test_batch_augmentation__differs(changed: dict[str, int]) -> None:
    same = (views() == views(**changed)).all(dim=(1, 2, 3))
    assert int(same.sum()) <= 2


def test_batch_augmentation__each_sample_in_its_own_epoch() -> None:
    epochs = torch.arange(64) % 3
    mixed = BatchAugmentation(OPERATIONS)(IMAGES, IDS, epochs)
    for epoch in range(3):
        assert torch.equal(mixed[epochs == epoch], views(epoch=epoch)[epochs == epoch])


def test_batch_augmentation__same_operation_twice_draws_twice() -> None:
    once = BatchAugmentation([RandomFlip(), RandomFlip()])(IMAGES, IDS, 0)
    assert 10 < int((once == IMAGES).all(dim=(1, 2, 3)).sum()) < 54  # one draw for both would undo every flip


@pytest.mark.slow
def test_batch_augmentation__is_the_same_in_another_process() -> None:
    code = (
        "import torch; from lightning_distill.data.augment import *; torch.manual_seed(9);"
        "a = BatchAugmentation([RandomCrop(padding=2), RandomFlip()], seed=3);"
        "views = a(torch.arange(32.).view(2, 1, 4, 4), torch.tensor([11, 4]), 5);"
        "print(views.int().flatten().tolist(), a.fingerprint())"
    )
    augment = BatchAugmentation([RandomCrop(padding=2), RandomFlip()], seed=3)
    ours = augment(torch.arange(32.0).view(2, 1, 4, 4), torch.tensor([11, 4]), 5).int().flatten().tolist()
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert other.split("] ")[0] + "]" == str(ours)
    assert other.split("] ")[1].strip() == augment.fingerprint()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batch_augmentation__is_the_same_on_a_gpu() -> None:
    on_gpu = BatchAugmentation(OPERATIONS)(IMAGES.cuda(), IDS.cuda(), 4)
    assert torch.equal(on_gpu.cpu(), BatchAugmentation(OPERATIONS)(IMAGES, IDS, 4))


def test_batch_augmentation__without_operations_is_the_batch() -> None:
    assert torch.equal(BatchAugmentation([])(IMAGES, IDS, 0), IMAGES)


def test_fingerprint__tells_operations_order_and_seed_apart() -> None:
    crop, flip = RandomCrop(padding=2), RandomFlip()
    all_of_them = [
        BatchAugmentation([crop, flip]),
        BatchAugmentation([flip, crop]),
        BatchAugmentation([crop, RandomFlip(0.4)]),
        BatchAugmentation([crop, flip], seed=1),
        BatchAugmentation([crop]),
    ]
    assert len({augment.fingerprint() for augment in all_of_them}) == 5
    assert BatchAugmentation([RandomCrop(2), RandomFlip(0.5)]).fingerprint() == all_of_them[0].fingerprint()


def test_batch_augmentation__refuses_what_is_no_batch_operation() -> None:
    with pytest.raises(TypeError, match="Expected `operations` to hold operations on batches, but got function"):
        BatchAugmentation([views])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"Expected `images` to be \[B, C, H, W\], but got Tensor\[3, 8, 8\]"):
        BatchAugmentation([RandomFlip()])(IMAGES[0], IDS, 0)
