"""Data sets of a training and a test file, from files in their true format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision

from lightning_distill.data import (
    CIFAR10DataModule,
    CIFAR100DataModule,
    EpochSampler,
    FashionMNISTDataModule,
    MNISTDataModule,
)
from lightning_distill.data.idx import read_idx
from tests.configs import files, tiny_run
from tests.data.disk import TEST, TRAIN, images, labels, stand_in, write_cifar, write_idx, write_mnist


def ids(loader: Any) -> list[int]:
    return [i for batch in loader for i in batch.sample_ids.tolist()]


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("inner", [".", "raw", "FashionMNIST/raw"])
def test_fashion_mnist__is_found_in_every_layout(inner: str, ending: str, tmp_path: Path) -> None:
    write_mnist(tmp_path / inner, ending)
    data = FashionMNISTDataModule(tmp_path, val_samples=20, batch_size=TEST, normalize=False)
    batch = next(iter(data.test_dataloader()))
    pixels = (batch.inputs * 255).round().byte().squeeze(1).numpy()
    assert np.array_equal(pixels, images(TEST, 28, 28, seed=1))
    assert batch.target.tolist() == labels(TEST, 10).tolist()


def test_normalised__as_torchvision_does_it(tmp_path: Path) -> None:
    write_mnist(tmp_path / "MNIST/raw", "")
    reference = torchvision.datasets.MNIST(
        tmp_path,
        train=False,
        transform=torchvision.transforms.Compose(
            [torchvision.transforms.ToTensor(), torchvision.transforms.Normalize((0.1307,), (0.3081,))]
        ),
    )
    batch = next(iter(MNISTDataModule(tmp_path, val_samples=20, batch_size=TEST).test_dataloader()))
    assert torch.equal(batch.inputs, torch.stack([image for image, _ in reference]))
    assert batch.target.tolist() == [label for _, label in reference]


@pytest.mark.parametrize(("kind", "classes"), [(CIFAR10DataModule, 10), (CIFAR100DataModule, 100)])
def test_cifar__is_read_as_torchvision_reads_it(
    kind: Any, classes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar(tmp_path, monkeypatch, classes)
    reference = getattr(torchvision.datasets, kind.torchvision_name)(tmp_path)
    data = kind(tmp_path, val_samples=classes, normalize=False, download=False)
    for batch in [*data.train_dataloader(), *data.val_dataloader()]:
        for image, label, row in zip(batch.inputs, batch.target, batch.sample_ids.tolist(), strict=True):
            pixels, expected = reference[row]
            assert np.array_equal((image * 255).round().byte().permute(1, 2, 0).numpy(), np.asarray(pixels))
            assert int(label) == expected
    assert (data.num_classes, list(data.example_input.shape)) == (classes, [2, 3, 32, 32])
    assert kind(tmp_path / reference.base_folder, val_samples=classes).dataset_size == len(reference)


def test_splits__are_disjoint_and_ids_are_rows(tmp_path: Path) -> None:
    data = MNISTDataModule(write_mnist(tmp_path), val_samples=20)
    train, val, test = ids(data.train_dataloader()), ids(data.val_dataloader()), ids(data.test_dataloader())
    assert sorted(train + val) == list(range(TRAIN))
    assert test == list(range(TRAIN, TRAIN + TEST))
    assert torch.bincount(data._val.target).tolist() == [2] * 10
    other = MNISTDataModule(tmp_path, val_samples=20, split_seed=1)
    assert ids(other.val_dataloader()) != val
    assert ids(MNISTDataModule(tmp_path, val_samples=20, seed=5).val_dataloader()) == val


def test_train_samples__are_the_students_alone(tmp_path: Path) -> None:
    data = MNISTDataModule(write_mnist(tmp_path), val_samples=20, train_samples=10)
    assert sorted(data.train_dataset.target.tolist()) == list(range(10))
    assert len(data.full().train_dataset) == TRAIN - 20


def test_processes__share_an_epoch(tmp_path: Path) -> None:
    data = MNISTDataModule(write_mnist(tmp_path), val_samples=20)
    shares = []
    for rank in range(2):
        sampler = EpochSampler(data.train_dataset, shuffle=True, num_replicas=2, rank=rank)
        shares.append(list(sampler))
    assert sorted(shares[0] + shares[1]) == list(range(TRAIN - 20))


def test_channels__repeat_grey(tmp_path: Path) -> None:
    batch = next(iter(MNISTDataModule(write_mnist(tmp_path), val_samples=20, channels=3).train_dataloader()))
    assert list(batch.inputs.shape[1:]) == [3, 28, 28]
    assert torch.equal(batch.inputs[:, 0], batch.inputs[:, 2])
    with pytest.raises(ValueError, match=r"`channels` to be 1 or 3, but got 2"):
        MNISTDataModule(tmp_path, val_samples=20, channels=2)


def test_missing_files__say_where_they_were_looked_for_and_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        FashionMNISTDataModule(tmp_path, download=False)
    for part in (
        str(tmp_path / "FashionMNIST" / "raw"),
        "t10k-labels-idx1-ubyte",
        "`download=true`",
        "dataset-fashion",
    ):
        assert part in str(caught.value)
    with pytest.raises(FileNotFoundError, match=r"CIFAR-100, but .*cifar-100-python.tar.gz") as caught:
        CIFAR100DataModule(tmp_path, download=False)
    assert str(tmp_path / "cifar-100-python") in str(caught.value)


@pytest.mark.parametrize("kind", [MNISTDataModule, CIFAR10DataModule])
def test_no_network__is_said_instead_of_a_traceback(kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = getattr(torchvision.datasets, kind.torchvision_name)
    monkeypatch.setattr(source, "mirrors", ["http://127.0.0.1:9/"], raising=False)  # nobody listens there
    monkeypatch.setattr(source, "url", "http://127.0.0.1:9/cifar", raising=False)
    with pytest.raises(FileNotFoundError, match=r"Downloading them failed: .*refused.*To do without"):
        kind(tmp_path)


def test_damaged_files__are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(tmp_path)
    broken = tmp_path / "train-images-idx3-ubyte.gz"
    content = broken.read_bytes()
    broken.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte.gz to be a gzipped idx file"):
        MNISTDataModule(tmp_path)
    write_idx(broken, images(TRAIN - 1, 28, 28))
    with pytest.raises(ValueError, match=r"label for each image, but got 59 images and 60 labels"):
        MNISTDataModule(tmp_path)
    write_cifar(tmp_path, monkeypatch)
    (tmp_path / "cifar-10-batches-py/data_batch_3").write_bytes(b"something else")
    with pytest.raises(FileNotFoundError, match=r"data_batch_3.* with the right checksums"):
        CIFAR10DataModule(tmp_path, download=False)


def test_idx__of_another_kind_or_length(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"hello there")
    with pytest.raises(ValueError, match=r"to be an idx file of bytes, but it starts with 68 65 6c 6c"):
        read_idx(tmp_path / "text")
    write_idx(tmp_path / "short", images(3, 4))
    (tmp_path / "short").write_bytes((tmp_path / "short").read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"to hold \[3, 4\] bytes, but got 11: it is damaged"):
        read_idx(tmp_path / "short")


def test_val_samples__out_of_range(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`val_samples` .* from 10 to 50, but got 5000"):
        MNISTDataModule(write_mnist(tmp_path))


@pytest.mark.parametrize("option", ["mnist", "fashion_mnist", "cifar10", "cifar100"])
def test_run(option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = stand_in(tmp_path / "files", monkeypatch, f"data={option}")
    tiny_run(tmp_path / "run", f"data={option}", *given, "teacher.model.width=4", "export=null", "trainer.max_steps=1")
    assert {"student.safetensors", "metrics.json"} <= set(files(tmp_path / "run"))
