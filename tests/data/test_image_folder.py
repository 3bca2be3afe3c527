"""Folders of image files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from lightning_distill import Distiller
from lightning_distill.data import EpochSampler, ImageFolderDataModule
from lightning_distill.engine import pl
from tests.configs import files, tiny_run
from tests.data.disk import images

CLASSES = ("cat", "dog")


def write_images(folder: Path, count: int, seed: int = 0, size: tuple[int, int] = (12, 16)) -> None:
    """PNG and JPEG files in turns, colour and grey."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, pixels in enumerate(images(count, *size, 3, seed=seed)):
        image = Image.fromarray(pixels)
        image = image.convert("L") if index % 3 == 2 else image
        image.save(folder / f"{index}.{'png' if index % 2 else 'jpg'}")


def write_folder(root: Path, train: int = 6, val: int = 4, test: int = 4) -> Path:
    for split, count in (("train", train), ("val", val), ("test", test)):
        for index, name in enumerate(CLASSES):
            if count:
                write_images(root / split / name, count, seed=index)
    return root


def module(root: Path, **options: Any) -> ImageFolderDataModule:
    given: dict[str, Any] = {"image_size": 8, "batch_size": 4, "workers": 0} | options
    return ImageFolderDataModule(root, **given)


def epochs(data: ImageFolderDataModule, count: int) -> list[list[Any]]:
    loader = data.train_dataloader()
    seen = []
    for epoch in range(count):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        seen.append(list(loader))
    return seen


def by_id(batches: list[Any]) -> dict[int, torch.Tensor]:
    return {i: image for b in batches for i, image in zip(b.sample_ids.tolist(), b.inputs, strict=True)}


class Noise:
    """An augmentation keyed as all are."""

    def __call__(self, pictures: torch.Tensor, sample_ids: torch.Tensor, epoch: int) -> torch.Tensor:
        rows = [np.random.default_rng((epoch, i)).random(pictures.shape[1:]) for i in sample_ids.tolist()]
        return pictures + torch.from_numpy(np.stack(rows)).float()

    def fingerprint(self) -> str:
        return "noise"


def test_images__are_resized_and_cropped_as_torchvision_does_it(tmp_path: Path) -> None:
    data = module(write_folder(tmp_path), resize=10, mean=[0.5] * 3, std=[0.25] * 3)
    to_floats = [v2.ToImage(), v2.ToDtype(torch.float32, True), v2.Normalize([0.5] * 3, [0.25] * 3)]
    reference = v2.Compose([v2.Resize(10), v2.CenterCrop(8), *to_floats])
    paths = [path for name in CLASSES for path in sorted((tmp_path / "val" / name).iterdir())]
    (first, second) = list(data.val_dataloader())
    for index, image in enumerate(torch.cat([first.inputs, second.inputs])):
        torch.testing.assert_close(image, reference(Image.open(paths[index]).convert("RGB")))
    assert torch.cat([first.target, second.target]).tolist() == [0] * 4 + [1] * 4


def test_facts(tmp_path: Path) -> None:
    data = module(write_folder(tmp_path))
    assert (data.num_classes, data.class_names, data.dataset_size) == (2, CLASSES, 12)
    assert list(data.example_input.shape) == [2, 3, 8, 8]
    assert list(module(tmp_path, channels=1).example_input.shape) == [2, 1, 8, 8]
    ids = [i for split in (data._train, data._val, data._test) for i in split.sample_ids.tolist()]
    assert ids == list(range(28))


@pytest.mark.parametrize("options", [{"random_crop": (0.2, 1.0)}, {"augment": Noise()}], ids=["crop", "augment"])
def test_views__are_a_function_of_seed_epoch_and_id_also_in_workers(options: dict[str, Any], tmp_path: Path) -> None:
    write_folder(tmp_path)
    here = epochs(module(tmp_path, **options), 3)
    torch.manual_seed(9)
    there = epochs(module(tmp_path, workers=2, **options), 3)  # they live on from epoch to epoch
    for first, second in zip(here, there, strict=True):
        for batch, other in zip(first, second, strict=True):
            assert torch.equal(batch.inputs, other.inputs)
            assert torch.equal(batch.sample_ids, other.sample_ids)
    views = [by_id(epoch) for epoch in here]
    assert all(not torch.equal(views[0][i], views[1][i]) for i in range(12))
    larger = by_id(epochs(module(tmp_path, batch_size=12, **options), 2)[1])
    assert all(torch.equal(larger[i], views[1][i]) for i in range(12))
    if "random_crop" in options:
        other = by_id(epochs(module(tmp_path, seed=1, **options), 1)[0])
        assert all(not torch.equal(other[i], views[0][i]) for i in range(12))


def test_random_crop__leaves_the_global_generator_alone(tmp_path: Path) -> None:
    data = module(write_folder(tmp_path), random_crop=(0.2, 1.0))
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    epochs(data, 1)
    assert torch.equal(torch.rand(1), expected)


def test_validation__is_the_same_in_every_epoch(tmp_path: Path) -> None:
    data = module(write_folder(tmp_path), random_crop=(0.2, 0.5), augment=Noise())
    loader = data.val_dataloader()
    first = torch.cat([batch.inputs for batch in loader])
    loader.sampler.set_epoch(4)  # type: ignore[attr-defined]
    assert torch.equal(first, torch.cat([batch.inputs for batch in loader]))
    assert torch.equal(first, torch.cat([b.inputs for b in module(tmp_path).val_dataloader()]))


def test_splits__that_are_not_there_are_taken_from_training(tmp_path: Path) -> None:
    data = module(write_folder(tmp_path, train=10, val=0, test=0), test_samples=4, val_samples=2)
    parts = [set(part.sample_ids.tolist()) for part in (data._train, data._val, data._test)]
    assert [len(part) for part in parts] == [14, 2, 4]
    assert set.union(*parts) == set(range(20))
    assert torch.bincount(data._test.target).tolist() == [2, 2]
    with pytest.raises(ValueError, match=r"training samples to take the `test` split from.*`test_samples` = 1"):
        module(tmp_path, test_samples=1)


def test_transfer__gives_images_without_a_label_to_the_student_alone(tmp_path: Path) -> None:
    write_folder(tmp_path)
    write_images(tmp_path / "extra" / "deep", 5, seed=7)
    data = module(tmp_path, transfer="extra", train_samples=4, batch_size=3)
    batches = list(data.train_dataloader())
    target, ids = (torch.cat([getattr(b, name) for b in batches]) for name in ("target", "sample_ids"))
    assert sorted(target.tolist()) == [-100] * 5 + [0, 0, 1, 1]
    assert sorted(ids[target == -100].tolist()) == [12, 13, 14, 15, 16]
    assert any(0 < int((b.target == -100).sum()) < len(b.target) for b in batches)
    assert data.full().train_dataset.target.tolist() == [0] * 6 + [1] * 6
    assert data.dataset_size == 17


def test_train_folder_of_plain_images__has_no_labels(tmp_path: Path) -> None:
    write_folder(tmp_path, train=0)
    write_images(tmp_path / "train", 5)
    data = module(tmp_path)
    assert data.train_dataset.target.tolist() == [-100] * 5
    assert data.class_names == CLASSES


def test_corrupt_image__is_named(tmp_path: Path) -> None:
    broken = write_folder(tmp_path) / "train/dog/3.png"
    broken.write_bytes(broken.read_bytes()[:60])
    data = module(tmp_path)
    with pytest.raises(ValueError, match=r"train/dog/3.png to be an image, but it cannot be read: .*on_corrupt=skip"):
        list(data.train_dataloader())
    with pytest.raises(ValueError, match=r"train/dog/3.png to be an image"):
        list(module(tmp_path, workers=1).train_dataloader())


@pytest.mark.parametrize("workers", [0, 2])
def test_corrupt_images__are_skipped_and_counted(workers: int, tmp_path: Path) -> None:
    write_folder(tmp_path)
    for name in ("train/cat/0.jpg", "train/dog/3.png", "val/dog/1.png"):
        (tmp_path / name).write_bytes(b"no image")
    data = module(tmp_path, on_corrupt="skip", workers=workers)
    assert [len(torch.cat([b.target for b in e])) for e in epochs(data, 2)] == [10, 10]
    assert sum(len(batch.target) for batch in data.val_dataloader()) == 7
    names = ["train/cat/0.jpg", "train/dog/3.png", "val/dog/1.png"]
    assert data.unreadable == [str(tmp_path / name) for name in names]
    assert data.full().unreadable == data.unreadable
    with pytest.warns(UserWarning, match=r"Left out 3 of 28 images that cannot be read: .*cat/0.jpg, .*dog/3.png"):
        data.teardown("fit")
    assert list(data.example_input.shape) == [2, 3, 8, 8]


def test_no_readable_image__is_an_error(tmp_path: Path) -> None:
    write_folder(tmp_path)
    for path in (tmp_path / "val").rglob("*.*"):
        path.write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"at least one image .* readable, but none of 4 is: .*cat/0.jpg"):
        list(module(tmp_path, on_corrupt="skip").val_dataloader())


def _empty_class(root: Path) -> None:
    (root / "train" / "owl").mkdir()


def _one_class(root: Path) -> None:
    for split in ("train", "val", "test"):
        (root / split / "dog").rename(root / f"{split}-dog")


def _other_class(root: Path) -> None:
    (root / "val" / "dog").rename(root / "val" / "wolf")


def _both(root: Path) -> None:
    write_images(root / "train", 1)


def _empty(root: Path) -> None:
    (root / "train").rename(root / "old")
    (root / "train").mkdir()


def _no_train(root: Path) -> None:
    (root / "train").rename(root / "training")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (_empty_class, ValueError, "every class folder of .*train to hold images, but 'owl' does not"),
        (_one_class, ValueError, "at least two class folders in .*train, but got only 'cat'"),
        (_other_class, ValueError, "val to have the class folders of .*train, but it has wolf as well and lacks dog"),
        (_both, ValueError, "to hold class folders or images, but got both: 0.jpg lies beside the folder 'cat'"),
        (_empty, ValueError, "train to hold images .*but found none"),
        (_no_train, FileNotFoundError, "hold the folder 'train' .* has: test, training, val"),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) and not isinstance(value, type) else "",
)
def test_bad_folder__is_explained(change: Any, error: type[Exception], message: str, tmp_path: Path) -> None:
    change(write_folder(tmp_path))
    with pytest.raises(error, match=message):
        module(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"val": "valdation"}, "`val` to name a folder in .* got 'valdation'"),
        ({"transfer": "nowhere"}, "`transfer` to name a folder with images, but found none in .*nowhere"),
        ({"on_corrupt": "ignore"}, "`on_corrupt` to be one of 'raise', 'skip', but got 'ignore'"),
        ({"random_crop": (0.0, 1.0)}, r"`random_crop` .* in \(0, 1\], but got \(0.0, 1.0\)"),
        ({"resize": 4}, "`resize` to be a whole number of at least 8, but got 4"),
        ({"channels": 2}, "`channels` to be one of 1, 3, but got 2"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_option__is_named(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    write_folder(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        module(tmp_path, **options)


def test_fingerprint__changes_with_files_and_view(tmp_path: Path) -> None:
    first = module(write_folder(tmp_path)).fingerprint()
    assert first == module(tmp_path, workers=1).fingerprint()
    others = [module(tmp_path, resize=9), module(tmp_path, channels=1), module(tmp_path, random_crop=(0.5, 1.0))]
    assert len({first, *(other.fingerprint() for other in others)}) == 4
    (tmp_path / "train/cat/1.png").unlink()
    assert module(tmp_path).fingerprint() != first


def test_processes__share_an_epoch(tmp_path: Path) -> None:
    data = module(write_folder(tmp_path))
    samplers = [EpochSampler(data.train_dataset, shuffle=True, num_replicas=2, rank=rank) for rank in range(2)]
    assert sorted(position for sampler in samplers for position in sampler) == list(range(12))


class Recorder(pl.Callback):
    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.seen.append(batch.inputs)


def test_resumed__sees_the_views_of_an_uninterrupted_run(tmp_path: Path) -> None:
    write_folder(tmp_path)

    def fit(max_epochs: int, checkpoint: Path | None = None) -> tuple[pl.Trainer, Distiller, list[torch.Tensor]]:
        recorder = Recorder()
        torch.manual_seed(0)
        student = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2))
        distiller = Distiller(student, optimizer=lambda p: torch.optim.SGD(p, lr=0.1))
        trainer = pl.Trainer(
            accelerator="cpu",
            max_epochs=max_epochs,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[recorder],
        )
        data = module(tmp_path, random_crop=(0.2, 1.0), workers=1)
        trainer.fit(distiller, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        return trainer, distiller, recorder.seen

    _, _, whole = fit(2)
    trainer, _, first = fit(1)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    _, _, second = fit(2, tmp_path / "last.ckpt")
    assert len(whole) == 6
    assert all(torch.equal(a, b) for a, b in zip(whole, first + second, strict=True))


def test_run(tmp_path: Path) -> None:
    write_folder(tmp_path / "files")
    given = ["data=imagefolder", f"data.root={tmp_path}/files", "data.image_size=16", "data.resize=16"]
    tiny_run(tmp_path / "run", *given, "data.workers=0", "teacher.model.width=4", "export=null", "trainer.max_steps=1")
    assert {"student.safetensors", "metrics.json"} <= set(files(tmp_path / "run"))
