"""The bundled digits."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits

from lightning_distill.data import DigitsDataModule


def rows(loader: object) -> torch.Tensor:
    return torch.cat([batch.sample_ids for batch in loader])  # type: ignore[attr-defined]


def test_splits__are_disjoint_and_cover_all() -> None:
    data = DigitsDataModule()
    splits = [rows(loader) for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader())]
    assert [len(split) for split in splits] == [1347, 225, 225]
    assert sorted(torch.cat(splits).tolist()) == list(range(1797))


def test_samples__are_the_rows_of_the_data_set() -> None:
    raw = load_digits()
    batch = next(iter(DigitsDataModule().test_dataloader()))
    assert batch.inputs.dtype == torch.float32
    assert float(batch.inputs.min()) >= 0
    assert float(batch.inputs.max()) <= 1
    for i in (0, 17, 63):
        row = int(batch.sample_ids[i])
        assert torch.equal(batch.inputs[i, 0] * 16, torch.from_numpy(raw.images[row]).float())
        assert int(batch.target[i]) == raw.target[row]


def test_splits__hold_each_class_in_its_share() -> None:
    data = DigitsDataModule(train_samples=100)
    counts = torch.bincount(torch.from_numpy(load_digits().target)) / 1797
    for samples, size in ((data.train_dataset.samples, 100), (data._val.samples, 225), (data._test.samples, 225)):
        assert (torch.bincount(samples.target) - counts * size).abs().max() < 1


def test_seed__chooses_the_training_samples_and_nothing_else() -> None:
    first, second = DigitsDataModule(train_samples=50), DigitsDataModule(train_samples=50, seed=1)
    assert set(first.train_dataset.samples.sample_ids.tolist()) != set(second.train_dataset.samples.sample_ids.tolist())
    assert torch.equal(rows(first.test_dataloader()), rows(second.test_dataloader()))
    other = DigitsDataModule(split_seed=1)
    assert not torch.equal(rows(first.test_dataloader()), rows(other.test_dataloader()))


def test_facts() -> None:
    data = DigitsDataModule()
    assert data.num_classes == 10
    assert data.class_names == tuple("0123456789")
    assert list(data.example_input.shape) == [2, 1, 8, 8]
    assert data.dataset_size == int(rows(data.train_dataloader()).max()) + 1
