"""Arrays from memory and from files."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lightning_distill.data import ArrayDataModule
from lightning_distill.data.array_files import splits_of
from tests.configs import files, tiny_run
from tests.data.disk import images, labels

X, Y = np.random.default_rng(0).random((40, 3), dtype=np.float32), (np.arange(40) % 2).astype(np.int64)
FULL = {"x_train": X, "y_train": Y, "x_val": X[:6], "y_val": Y[:6], "x_test": X[:8], "y_test": Y[:8]}


def seen(data: ArrayDataModule) -> dict[int, tuple[list[float], int]]:
    return {
        i: (x, y)
        for batch in data.train_dataloader()
        for i, x, y in zip(batch.sample_ids.tolist(), batch.inputs.tolist(), batch.target.tolist(), strict=True)
    }


def write(kind: str, folder: Path) -> Path:
    tensors = {name: torch.from_numpy(array).clone() for name, array in FULL.items()}
    path = folder / f"arrays.{kind}"
    if kind == "npz":
        np.savez(path, **FULL)
    elif kind == "safetensors":
        save_file(tensors, path)
    elif kind == "pt":
        torch.save(
            {s: {"inputs": tensors[f"x_{s}"], "labels": tensors[f"y_{s}"]} for s in ("train", "val", "test")}, path
        )
    elif kind == "npy":
        path = folder / "arrays"
        path.mkdir()
        for name, array in FULL.items():
            np.save(path / f"{name}.npy", array)
    else:
        path = folder / "splits"
        path.mkdir()
        for split in ("train", "val", "test"):
            np.savez(path / f"{split}.npz", x=FULL[f"x_{split}"], y=FULL[f"y_{split}"])
    return path


@pytest.mark.parametrize("kind", ["npz", "safetensors", "pt", "npy", "folder"])
def test_files__hold_what_was_saved(kind: str, tmp_path: Path) -> None:
    data = ArrayDataModule(write(kind, tmp_path), batch_size=7)
    assert seen(data) == {i: (X[i].tolist(), int(Y[i])) for i in range(40)}
    assert [len(part) for part in (data._val, data._test)] == [6, 8]
    assert data.num_classes == 2


def test_npy_files__are_mapped_and_stay_as_they_are(tmp_path: Path) -> None:
    folder = write("npy", tmp_path)
    before = (folder / "x_train.npy").read_bytes()
    data = ArrayDataModule(folder)
    data._train.samples.inputs.add_(1)
    assert (folder / "x_train.npy").read_bytes() == before


@pytest.mark.parametrize(
    "names",
    [("X_train", "y_train"), ("train_images", "train_labels"), ("trainX", "trainY"), ("x", "y"), ("xtrain", "ytrain")],
    ids=lambda names: names[0],
)
def test_names__of_training_samples(names: tuple[str, str]) -> None:
    assert seen(ArrayDataModule(dict(zip(names, (X, Y), strict=True)), val_samples=2, test_samples=2)).keys() <= set(
        range(40)
    )


def test_splits__that_are_not_there_are_taken_from_training() -> None:
    data = ArrayDataModule({"x_train": X, "y_train": Y}, val_samples=4, test_samples=6)
    parts = [set(part.sample_ids.tolist()) for part in (data._train, data._val, data._test)]
    assert [len(part) for part in parts] == [30, 4, 6]
    assert set.union(*parts) == set(range(40))
    assert torch.bincount(data._test.target).tolist() == [3, 3]


def test_transfer__has_no_labels() -> None:
    data = ArrayDataModule(FULL | {"x_unlabelled": X[:5] + 1})
    assert data.train_dataset.target.tolist() == [*Y.tolist(), *[-100] * 5]
    assert len(data.full().train_dataset) == 40
    assert torch.equal(data._train.samples.inputs[40:], torch.from_numpy(X[:5] + 1))


@pytest.mark.parametrize(
    ("array", "layout", "shape"),
    [
        (images(40, 6, 5), None, [2, 1, 6, 5]),
        (images(40, 6, 5, 3), None, [2, 3, 6, 5]),
        (images(40, 3, 6, 5), None, [2, 3, 6, 5]),
        (images(40, 6, 5, 3).astype(np.float32), "NHWC", [2, 3, 6, 5]),
        (images(40, 6, 5, 3).astype(np.float32), None, [2, 6, 5, 3]),
    ],
)
def test_images__are_brought_to_channels_first(array: np.ndarray, layout: str | None, shape: list[int]) -> None:
    data = ArrayDataModule({"x": array, "y": labels(40, 10)}, layout=layout)
    assert list(data.example_input.shape) == shape
    if layout == "NHWC":
        row = int(data._train.sample_ids[0])
        assert np.array_equal(data.example_input[0].permute(1, 2, 0).numpy(), array[row])
    assert data.example_input.dtype == torch.float32


def test_labels__of_keras_and_of_many() -> None:
    assert ArrayDataModule({"x": X, "y": Y.reshape(-1, 1)}).train_dataset.target.ndim == 1
    many = np.random.default_rng(0).random((40, 5)) > 0.5
    data = ArrayDataModule({"x": X, "y": many})
    assert (data.num_classes, data.train_dataset.target.dtype) == (5, torch.float32)


def test_pickles__are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=np.array([{"a": 1}], dtype=object))
    (tmp_path / "b.pt").write_bytes(pickle.dumps({"x_train": Path("x")}, protocol=2))
    torch.save({"x_train": Path("x")}, tmp_path / "c.pt")
    for name in ("a.npz", "b.pt", "c.pt"):
        with pytest.raises(ValueError, match=f"{name} to hold plain arrays, but it is damaged or needs unpickling"):
            ArrayDataModule(tmp_path / name)


def test_damaged_files__are_named(tmp_path: Path) -> None:
    for kind in ("npz", "safetensors", "pt"):
        path = write(kind, tmp_path)
        path.write_bytes(path.read_bytes()[:50])
        with pytest.raises(ValueError, match=f"arrays.{kind} to hold plain arrays"):
            ArrayDataModule(path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": X, "weights": Y}, "what 'weights' is is not clear. Found: images, weights"),
        ({"x_train": X, "train_images": X}, "what 'train_images' is beside 'x_train' is not clear"),
        ({"x_val": X, "y_val": Y}, "there are no training inputs. Found: x_val, y_val"),
        ({"x_train": X, "y_train": Y, "x_val": X}, "Expected labels for the `val` samples, but got none. Add `y_val`"),
        ({"x_train": X, "y_train": Y[:5]}, r"as many labels as inputs for the `train` samples, but got 5 and 40"),
        ({"x_train": np.array(["a", "b"]), "y_train": Y[:2]}, "'x_train' to hold numbers, but got <U1"),
        ({"x_train": X[:3], "y_train": Y[:3]}, "training samples to take the `test` split from"),
    ],
)
def test_bad_arrays__are_explained(arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ArrayDataModule(arrays, val_samples=None)


def test_missing_file__says_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"arrays.npz is not there"):
        ArrayDataModule(tmp_path / "arrays.npz")
    with pytest.raises(FileNotFoundError, match=r"holds none"):
        ArrayDataModule(tmp_path)


def test_wide_unsigned_and_big_endian_numbers__are_read() -> None:
    arrays = {"x_train": X.astype(">f4"), "y_train": Y.astype(np.uint16)}
    inputs, target = splits_of(arrays, "arrays")["train"]
    assert torch.equal(inputs, torch.from_numpy(X))
    assert target is not None
    assert target.tolist() == Y.tolist()


def test_run(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=images(60, 8, 8), y_train=labels(60, 10))
    given = ["data=arrays", f"data.source={tmp_path}/a.npz", "teacher.model.width=4", "export=null"]
    tiny_run(tmp_path / "run", *given, "trainer.max_steps=1")
    assert {"student.safetensors", "metrics.json"} <= set(files(tmp_path / "run"))
