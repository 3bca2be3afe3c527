"""What the student is told out of a store is what the teacher would have said."""

from __future__ import annotations

import pickle
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_distill import Distiller, FrozenTeacher
from lightning_distill.data import TensorDataModule
from lightning_distill.data.augment import BatchAugmentation, RandomCrop, RandomFlip
from lightning_distill.distillers import Term
from lightning_distill.engine import pl
from lightning_distill.losses import HintLoss
from lightning_distill.models import SmallConvNet
from lightning_distill.teachers import CachedTeacher, remember
from lightning_distill.teachers.fingerprint import data_fingerprint, identity_of
from lightning_distill.teachers.store import Dense, TeacherStore, TopK
from lightning_distill.types import Batch

SAMPLES, EPOCHS = 22, 3
AUGMENT = BatchAugmentation([RandomCrop(padding=1), RandomFlip()], seed=3)
ADAMW = partial(torch.optim.AdamW, lr=1e-2)
FLOAT32 = Dense("float32")


def data(**options: Any) -> TensorDataModule:
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.rand(SAMPLES, 1, 8, 8, generator=generator), torch.arange(SAMPLES) % 4
    train = images, labels, torch.arange(SAMPLES) * 3 + 1
    given: dict[str, Any] = {"num_classes": 4, "batch_size": 8, "augment": AUGMENT} | options
    return TensorDataModule(train, (images[:6], labels[:6]), **given)


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return SmallConvNet(num_classes=4, in_channels=1, width=4)


def teacher(**options: Any) -> FrozenTeacher:
    return FrozenTeacher(network(), **options)


def kept(folder: Path, asked: FrozenTeacher | None = None, **options: Any) -> TeacherStore:
    given: dict[str, Any] = {"data": data(), "encoding": FLOAT32, "epochs": EPOCHS, "progress": False} | options
    return remember(asked or teacher(), folder=folder / "store", **given)


def batches(module: TensorDataModule, epoch: int) -> list[Batch]:
    loader: Any = module.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return list(loader)


def fitted(asked: nn.Module, module: TensorDataModule, **options: Any) -> dict[str, Tensor]:
    distiller = Distiller(network(1), asked, optimizer=ADAMW, example_input=module.example_input, **options)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=EPOCHS,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(distiller, datamodule=module)
    return distiller.student.state_dict()


# Equality with the live teacher.


def test_augmented__the_very_views_of_every_epoch(tmp_path: Path) -> None:
    live = teacher()
    cached = CachedTeacher(live, kept(tmp_path, live))
    for epoch in range(EPOCHS):
        for batch in batches(data(), epoch):
            torch.testing.assert_close(cached.answer(batch, epoch), live.answer(batch), rtol=0, atol=1e-6)
            other = cached.answer(batch, (epoch + 1) % EPOCHS)
            assert float((other - live.answer(batch)).abs().max()) > 1e-3


def test_clean__the_image_as_it_is_in_every_epoch(tmp_path: Path) -> None:
    live, plain = teacher(), data(augment=None)
    cached = CachedTeacher(live, kept(tmp_path, live, view="clean", epochs=1))
    for batch in batches(plain, 0):
        for epoch in (0, 7):
            torch.testing.assert_close(cached.answer(batch, epoch), live.answer(batch), rtol=0, atol=1e-6)


def test_fit__gives_the_same_student(tmp_path: Path) -> None:
    live = teacher()
    store = kept(tmp_path, live)
    plain, cached = fitted(live, data()), fitted(CachedTeacher(live, store), data())
    for name, weights in plain.items():
        torch.testing.assert_close(cached[name], weights, rtol=0, atol=1e-5)


def test_fit__never_runs_the_teacher_on_training_batches(tmp_path: Path) -> None:
    live = teacher()
    store = kept(tmp_path, live)
    sizes: list[int] = []
    live.model.register_forward_hook(lambda module, args, output: sizes.append(len(args[0])))
    fitted(CachedTeacher(live, store), data(), teacher_agreement=True)
    assert set(sizes) == {2, 6}  # examples, and the validation samples, whose ids are those of training samples


def test_options__of_the_live_teacher_are_in_the_answers(tmp_path: Path) -> None:
    live = teacher(mean=0.5, std=0.2, class_map=[0, 1, 1, 2])
    cached = CachedTeacher(live, kept(tmp_path, live))
    batch = batches(data(), 1)[0]
    assert cached.answer(batch, 1).shape == (8, 3)
    torch.testing.assert_close(cached.answer(batch, 1), live.answer(batch), rtol=0, atol=1e-5)


def test_features__are_recalled_for_terms(tmp_path: Path) -> None:
    live = teacher()
    store = kept(tmp_path, live, features=["pool", "stem"] if hasattr(live.model, "stem") else ["pool"])
    terms = {"hint": Term(HintLoss(), 1.0, "pool", "pool")}
    plain, cached = fitted(live, data(), terms=terms), fitted(CachedTeacher(live, store), data(), terms=terms)
    for name, weights in plain.items():
        torch.testing.assert_close(cached[name], weights, rtol=0, atol=1e-5)


def test_features__that_were_not_kept(tmp_path: Path) -> None:
    store = kept(tmp_path)
    with pytest.raises(ValueError, match=r"to hold the teacher's features 'pool', but it holds none"):
        fitted(CachedTeacher(teacher(), store), data(), terms={"hint": Term(HintLoss(), 1.0, "pool", "pool")})


def test_top_k__at_temperature_one_keeps_the_probabilities(tmp_path: Path) -> None:
    live = teacher()
    cached = CachedTeacher(live, kept(tmp_path, live, encoding=TopK(2, "float32")))
    batch = batches(data(), 0)[0]
    expected, found = live.answer(batch).softmax(1), cached.answer(batch, 0).softmax(1)
    top = expected.topk(2, dim=1)
    torch.testing.assert_close(found.gather(1, top.indices), top.values, rtol=0, atol=1e-6)
    torch.testing.assert_close(found.sum(1), torch.ones(8))


def test_announced__ids_on_a_device_are_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the ids are on a GPU when the teacher is asked: what the data loader gave on the CPU is looked up."""
    live = teacher()
    cached = CachedTeacher(live, kept(tmp_path, live))
    plain = fitted(cached, data())
    asked: list[Tensor] = []

    def announce(batch: Batch) -> None:
        assert batch.sample_ids is not None
        cached._announced = batch.sample_ids.clone()
        asked.append(cached._announced)

    monkeypatch.setattr("lightning_distill.teachers.cached._on_host", lambda ids: False)
    monkeypatch.setattr(cached, "announce", announce)
    announced = fitted(cached, data())
    assert len(asked) == 9  # three epochs of three batches
    assert all(torch.equal(announced[name], weights) for name, weights in plain.items())


def test_announced__another_batch_gets_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = CachedTeacher(network(), kept(tmp_path))
    first, second = batches(data(), 0)[:2]
    assert first.sample_ids is not None
    assert second.sample_ids is not None
    mixed_up = first._replace(sample_ids=torch.cat([first.sample_ids[:3], second.sample_ids[3:]]))
    cached.announce(first)
    monkeypatch.setattr("lightning_distill.teachers.cached._on_host", lambda ids: False)
    answer = cached.answer(mixed_up, 0)
    assert answer[:3].isfinite().all()
    assert answer[3:].isnan().all()


# A teacher like any other.


def test_teacher__is_frozen_shared_and_moves(tmp_path: Path) -> None:
    cached = CachedTeacher(network(), kept(tmp_path))
    distiller = Distiller(network(1), cached)
    assert distiller.teacher is cached
    assert not any(p.requires_grad for p in cached.parameters())
    assert not any(module.training for module in cached.train().modules())
    distiller.double()
    assert next(cached.model.parameters()).dtype == torch.float64
    copied = pickle.loads(pickle.dumps(cached))
    batch = batches(data(), 0)[0]
    assert torch.equal(copied.answer(batch, 0), cached.answer(batch, 0))


# What cannot be looked up.


def test_batches__without_ids(tmp_path: Path) -> None:
    cached = CachedTeacher(network(), kept(tmp_path))
    with pytest.raises(ValueError, match="Expected batches with `sample_ids`, by which the store"):
        cached.answer(Batch(torch.zeros(2, 1, 8, 8)), 0)


def test_batches__of_samples_that_it_does_not_know(tmp_path: Path) -> None:
    cached = CachedTeacher(network(), kept(tmp_path))
    with pytest.raises(ValueError, match=r"that the store .* knows, but got \[0\]"):
        cached.answer(Batch(torch.zeros(2, 1, 8, 8), None, torch.tensor([1, 0])), 0)


def test_epochs__beyond_the_store(tmp_path: Path) -> None:
    cached = CachedTeacher(network(), kept(tmp_path, epochs=1))
    with pytest.raises(ValueError, match="Expected an epoch below 1"):
        fitted(cached, data())


# Whose answers they are.


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"asked": FrozenTeacher(network(1))}, "the teacher ("),
        ({"asked": FrozenTeacher(network(), mean=0.5, std=0.5)}, "the teacher ("),
        ({"data": data(batch_size=4, train_samples=12)}, "the training data ("),
        ({"data": data(augment=BatchAugmentation([RandomCrop(padding=1), RandomFlip()], seed=4))}, "the transforms ("),
        ({"data": data(mean=[0.5], std=[0.5])}, "the transforms ("),
    ],
)
def test_identity__names_what_differs(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    kept(tmp_path)
    identity = identity_of(change.get("asked") or teacher(), change.get("data") or data(), "augmented")
    with pytest.raises(ValueError, match="to belong to this run") as caught:
        TeacherStore(tmp_path / "store", identity)
    named = [part for part in ("the teacher (", "the training data (", "the transforms (") if part in str(caught.value)]
    assert named == [said]


def test_identity__what_does_not_change_an_answer_does_not_count(tmp_path: Path) -> None:
    kept(tmp_path)
    same = TensorDataModule(data().train_dataset.samples, data()._val.samples, num_classes=4, augment=AUGMENT)
    TeacherStore(tmp_path / "store", identity_of(teacher(), same, "augmented"))
    clean = [identity_of(teacher(), module, "clean") for module in (data(), data(augment=None))]
    assert clean[0] == clean[1]


def test_identity__an_activation_has_no_weights() -> None:
    def made(activation: nn.Module) -> str:
        torch.manual_seed(0)
        return identity_of(FrozenTeacher(nn.Sequential(nn.Linear(2, 2), activation)), data(), "clean").teacher

    assert made(nn.ReLU()) == made(nn.ReLU())
    assert made(nn.ReLU()) != made(nn.GELU())


def test_identity__data_without_a_fingerprint() -> None:
    with pytest.raises(ValueError, match=r"Expected `data` to have a `fingerprint\(\)`"):
        data_fingerprint(pl.LightningDataModule())


# Making a store.


def test_remember__goes_on_and_keeps_what_is_there(tmp_path: Path) -> None:
    live = teacher()
    kept(tmp_path, live)
    sizes: list[int] = []
    live.model.register_forward_hook(lambda module, args, output: sizes.append(len(args[0])))
    store = kept(tmp_path, live)
    assert sizes == [2]  # two samples, to learn the shape
    assert store.fields(torch.tensor([4]), 2, ["logits"])["logits"].shape == (1, 4)


def test_remember__views_that_cannot_be_made_again(tmp_path: Path) -> None:
    class Other(pl.LightningDataModule):
        def train_dataloader(self) -> DataLoader[Any]:
            return DataLoader(TensorDataset(torch.rand(4, 1, 8, 8), torch.arange(4)), batch_size=2)

        def fingerprint(self) -> str:
            return "mine"

    with pytest.raises(ValueError, match=r"Expected the training loader of Other to serve the view of an epoch"):
        kept(tmp_path, data=Other())
    with pytest.raises(ValueError, match=r"Expected batches with `sample_ids`, by which answers are looked up later"):
        kept(tmp_path, data=Other(), view="clean")


def test_remember__leaves_random_numbers_alone(tmp_path: Path) -> None:
    live = teacher()
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    kept(tmp_path, live)
    assert torch.equal(torch.rand(1), expected)


def test_remember__logits_too_large_for_float16(tmp_path: Path) -> None:
    live = teacher()
    live.model.get_submodule("fc").bias.data[0] = 1e5  # type: ignore[union-attr,operator]
    with pytest.raises(ValueError, match=r"`logits` to be finite in float16, .* samples \[1, 4\]. .* keep float32"):
        kept(tmp_path, live, encoding=Dense())


def test_remember__a_disk_that_is_too_small(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"Expected room for .* keep fewer classes \(top_k\), fewer epochs"):
        kept(tmp_path, epochs=10**12)
    assert not (tmp_path / "store").exists()
