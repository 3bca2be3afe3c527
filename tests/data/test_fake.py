"""Generated images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lightning_distill.data import FakeDataModule
from lightning_distill.models import SmallConvNet
from tests.configs import files, tiny_run


def test_facts_and_splits() -> None:
    data = FakeDataModule(num_classes=4, image_size=12, channels=1, samples=40, val_samples=8, test_samples=12)
    assert (data.num_classes, list(data.example_input.shape), data.dataset_size) == (4, [2, 1, 12, 12], 40)
    parts = (data._train, data._val, data._test)
    assert [i for part in parts for i in part.sample_ids.tolist()] == list(range(60))
    assert [torch.bincount(part.target).tolist() for part in parts] == [[10] * 4, [2] * 4, [3] * 4]
    assert not torch.equal(data._train.samples.inputs[:8], data._val.samples.inputs)


def test_images__are_a_function_of_the_data_seed() -> None:
    first, again = FakeDataModule(samples=20), FakeDataModule(samples=20, seed=3)
    assert torch.equal(first._train.samples.inputs, again._train.samples.inputs)
    assert first._train.fingerprint() != FakeDataModule(samples=20, data_seed=1)._train.fingerprint()


def accuracy(noise: float) -> float:
    data = FakeDataModule(num_classes=5, image_size=12, samples=300, val_samples=100, noise=noise, batch_size=50)
    torch.manual_seed(0)
    network = SmallConvNet(5, in_channels=3)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    loader = data.train_dataloader()
    for epoch in range(8):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        for batch in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(batch.inputs), batch.target).backward()
            optimizer.step()
    network.eval()
    right = [(network(batch.inputs).argmax(dim=1) == batch.target).sum() for batch in data.val_dataloader()]
    return int(torch.stack(right).sum()) / 100


def test_images__can_be_learned_unless_they_are_noise() -> None:
    assert accuracy(noise=0.5) > 0.8
    assert accuracy(noise=1.0) < 0.4


def test_imbalance__falls_geometrically() -> None:
    data = FakeDataModule(num_classes=3, samples=210, imbalance=0.25, image_size=4)
    assert torch.bincount(data._train.target).tolist() == [120, 60, 30]
    assert data.class_weights == pytest.approx([3 / 7, 6 / 7, 12 / 7])


@pytest.mark.parametrize(
    ("options", "message"),
    [({"noise": 1.5}, r"`noise` to be in \[0, 1\]"), ({"samples": 3}, "`samples` .* at least 10, but got 3")],
    ids=["noise", "samples"],
)
def test_bad_numbers__are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FakeDataModule(**options)


def test_run__with_balanced_classes_and_weights(tmp_path: Path) -> None:
    given = ["data=fake", "data.image_size=8", "data.samples=60", "data.imbalance=0.2", "data.sampler=sqrt"]
    more = ["student_loss=class_weighted", "teacher.model.width=4", "export=null", "trainer.max_steps=1"]
    tiny_run(tmp_path, *given, *more)
    assert {"student.safetensors", "metrics.json"} <= set(files(tmp_path))
