"""Batches that are prepared on the device are those that the loader prepares."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from lightning_distill import Distiller
from lightning_distill.data import TensorDataModule
from lightning_distill.data.augment import BatchAugmentation, RandomCrop, RandomFlip, randaugment, standard
from lightning_distill.data.module import by_hand
from lightning_distill.models import SmallConvNet

IMAGES = torch.randint(0, 256, (20, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(20) % 3
AUGMENT = BatchAugmentation([RandomCrop(2), RandomFlip()], seed=4)


def data(**options: Any) -> TensorDataModule:
    given = {"num_classes": 3, "batch_size": 8, "augment": AUGMENT, "mean": [0.5], "std": [0.2]} | options
    return TensorDataModule((IMAGES, LABELS), (IMAGES[:6], LABELS[:6]), **given)


def seen(module: TensorDataModule, epochs: int = 2) -> tuple[list[Tensor], list[Tensor]]:
    """What the student sees in training and in validation."""
    torch.manual_seed(0)
    student = SmallConvNet(3)
    inputs: tuple[list[Tensor], list[Tensor]] = [], []
    student.register_forward_pre_hook(lambda network, args: inputs[not network.training].append(args[0]))
    distiller = Distiller(student, optimizer=partial(torch.optim.SGD, lr=0.1))
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    pl.Trainer(accelerator="cpu", max_epochs=epochs, enable_checkpointing=False, **quiet).fit(distiller, module)
    return inputs


def test_prepare_on__device_and_loader_give_the_same_batches() -> None:
    ours, theirs = seen(data(prepare_on="device")), seen(data(prepare_on="loader"))
    assert len(ours[0]) == len(theirs[0]) == 6
    assert len(ours[1]) == len(theirs[1]) > 0
    for one, other in zip([*ours[0], *ours[1]], [*theirs[0], *theirs[1]], strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(ours[0][0], ours[0][3])


def test_prepare_on__device_moves_stored_bytes() -> None:
    module = data(prepare_on="device")
    module.trainer = SimpleNamespace(distributed_sampler_kwargs=None, training=True, current_epoch=3)
    batch = next(iter(module.train_dataloader()))
    assert batch.inputs.dtype == torch.uint8
    prepared = module.on_after_batch_transfer(batch, 0)
    expected = (AUGMENT(batch.inputs.float() / 255, batch.sample_ids, 3) - 0.5) / 0.2
    torch.testing.assert_close(prepared.inputs, expected)
    module.trainer.training = False
    plain = module.on_after_batch_transfer(batch, 0).inputs
    torch.testing.assert_close(plain, (batch.inputs.float() / 255 - 0.5) / 0.2)
    assert next(iter(by_hand(module).train_dataloader())).inputs.dtype == torch.float32


@pytest.mark.parametrize(
    ("device", "options", "expected"),
    [
        ("cuda", {}, True),
        ("cpu", {}, False),
        ("cuda", {"augment": None}, True),
        ("cuda", {"augment": standard(padding=1)}, True),
        ("cuda", {"augment": randaugment(padding=1)}, False),
        ("cuda", {"repeats": 2}, False),
        ("cuda", {"prepare_on": "loader"}, False),
        ("cpu", {"prepare_on": "device"}, True),
    ],
)
def test_prepare_on__auto(device: str, options: dict[str, Any], expected: bool) -> None:
    module = data(**options)
    module.trainer = SimpleNamespace(
        strategy=SimpleNamespace(root_device=torch.device(device)), distributed_sampler_kwargs=None, current_epoch=0
    )
    raw = next(iter(module.train_dataloader())).inputs.dtype == torch.uint8
    assert raw == expected


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_prepare_on__a_gpu_gives_the_cpus_batches() -> None:
    module = data(prepare_on="device")
    module.trainer = SimpleNamespace(distributed_sampler_kwargs=None, training=True, current_epoch=3)
    batch = next(iter(module.train_dataloader()))
    on_cpu = module.on_after_batch_transfer(batch, 0).inputs
    moved = batch._replace(inputs=batch.inputs.cuda(), sample_ids=batch.sample_ids.cuda())
    torch.testing.assert_close(module.on_after_batch_transfer(moved, 0).inputs.cpu(), on_cpu)


def test_prepare_on__refuses() -> None:
    with pytest.raises(ValueError, match="Expected `prepare_on` to be one of 'auto', 'loader', 'device'"):
        data(prepare_on="gpu")
    with pytest.raises(ValueError, match=r"where `repeats` is above 1, .* but got 'device'"):
        data(prepare_on="device", repeats=2)
