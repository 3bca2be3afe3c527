"""What is weighed, logged, measured, refused and saved."""

from __future__ import annotations

import copy
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import pytorch_lightning as pl
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_distill import DeiTDistiller, Distiller
from lightning_distill.losses import KLDistillationLoss
from lightning_distill.schedules import LinearWarmup

SGD = partial(torch.optim.SGD, lr=0.1)
IMAGES = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
LABELS = IMAGES[:, :3].argmax(1)


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.a(x), self.b(x)


def loader(labels: Tensor = LABELS) -> DataLoader[Any]:
    return DataLoader(TensorDataset(IMAGES, labels), batch_size=8)


def trainer(**kwargs: Any) -> pl.Trainer:
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    return pl.Trainer(**(quiet | {"accelerator": "cpu", "max_epochs": 1} | kwargs))


def classic(**kwargs: Any) -> Distiller:
    torch.manual_seed(0)
    return Distiller(nn.Linear(4, 3), nn.Linear(4, 3), **({"optimizer": SGD} | kwargs))


@pytest.mark.parametrize(("weight", "expected"), [(None, 0.7), (2.5, 2.5)])
def test_total(weight: float | None, expected: float) -> None:
    distiller = classic(alpha=0.3, distillation_weight=weight)
    batch = (IMAGES[:8], LABELS[:8])
    student, teacher = distiller.student(IMAGES[:8]), distiller.teacher(IMAGES[:8])
    losses = distiller.compute_losses(batch)
    torch.testing.assert_close(losses["student_loss"], F.cross_entropy(student, LABELS[:8]))
    torch.testing.assert_close(losses["distillation_loss"], KLDistillationLoss(3.0)(student, teacher))
    fitted = trainer(max_steps=1)
    seen: list[Any] = []
    fitted.callbacks.append(Grab(seen))
    fitted.fit(distiller, loader())
    total = seen[0]["loss"]
    torch.testing.assert_close(total, (0.3 * losses["student_loss"] + expected * losses["distillation_loss"]).detach())


class Grab(pl.Callback):
    def __init__(self, seen: list[Any]) -> None:
        self.seen = seen

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.seen.append({name: value.detach() for name, value in outputs.items()})


def test_logged_names() -> None:
    distiller = classic(alpha=LinearWarmup(0.0, 0.5, warmup=1.0), teacher_agreement=True)
    fitted = trainer()
    fitted.fit(distiller, loader(), loader())
    assert set(fitted.logged_metrics) == {
        *("train/loss", "train/student_loss", "train/distillation_loss", "train/accuracy"),
        *("train/weight/student_loss", "train/weight/distillation_loss"),
        *("val/student_loss", "val/accuracy", "val/teacher_agreement"),
    }
    assert float(fitted.logged_metrics["train/weight/student_loss"]) == pytest.approx(0.25)


def test_without_teacher__total_is_the_student_loss() -> None:
    distiller = Distiller(nn.Linear(4, 3), alpha=0.1, optimizer=SGD)
    seen: list[Any] = []
    fitted = trainer(callbacks=[Grab(seen)])
    fitted.fit(distiller, loader(), loader())
    assert torch.equal(seen[0]["loss"], seen[0]["student_loss"])
    assert set(fitted.logged_metrics) == {
        "train/loss",
        "train/student_loss",
        "train/accuracy",
        "val/student_loss",
        "val/accuracy",
    }


def test_deit__averages_and_measures_each_head() -> None:
    distiller = DeiTDistiller(Pair(), nn.Linear(4, 3), optimizer=SGD)
    expected = (distiller.student.a(IMAGES) + distiller.student.b(IMAGES)) / 2
    assert torch.equal(distiller(IMAGES), expected)
    assert torch.equal(distiller.deployable()(IMAGES), expected)
    fitted = trainer(max_epochs=3)
    fitted.fit(distiller, loader(), loader())
    for head, logits in {
        "": distiller(IMAGES),
        "_class_head": distiller.student.a(IMAGES),
        "_distillation_head": distiller.student.b(IMAGES),
    }.items():
        share = (logits.argmax(1) == LABELS).float().mean()
        assert float(fitted.logged_metrics[f"val/accuracy{head}"]) == pytest.approx(float(share))


@pytest.mark.parametrize("how", ["none", "no teacher"])
def test_deit__baseline_is_the_class_head_alone(how: str) -> None:
    teacher, kind = (nn.Linear(4, 3), "none") if how == "none" else (None, "soft")
    student = Pair()
    distiller = DeiTDistiller(student, teacher, distillation_type=kind, optimizer=SGD, example_input=IMAGES[:2])
    assert [name for name, p in student.named_parameters() if not p.requires_grad] == ["b.weight", "b.bias"]
    before = student.b.weight.clone()
    fitted = trainer()
    fitted.fit(distiller, loader(), loader())
    assert torch.equal(before, student.b.weight)
    assert torch.equal(distiller(IMAGES), student.a(IMAGES))
    assert torch.equal(distiller.deployable()(IMAGES), student.a(IMAGES))
    assert "val/accuracy_class_head" not in fitted.logged_metrics


def test_deit__timm_as_it_is() -> None:
    torch.manual_seed(0)
    student = timm.create_model("deit_tiny_distilled_patch16_224", img_size=16, patch_size=8, num_classes=3, depth=1)
    nn.init.normal_(student.head.weight)
    nn.init.normal_(student.head_dist.weight)
    images = torch.randn(4, 3, 16, 16)
    distiller = DeiTDistiller(
        student, nn.Sequential(nn.Flatten(), nn.Linear(768, 3)), optimizer=SGD, example_input=images
    )
    for mode in (True, False):
        heads = distiller.train(mode).read_student(images)
        assert not torch.equal(heads.class_logits, heads.distillation_logits)
        assert torch.equal(heads.deployed, (heads.class_logits + heads.distillation_logits) / 2)
    assert torch.equal(distiller.eval()(images), student.eval()(images))
    fitted = trainer()
    fitted.fit(
        distiller.train(), DataLoader(TensorDataset(images, LABELS[:4])), DataLoader(TensorDataset(images, LABELS[:4]))
    )
    assert {"val/accuracy", "val/accuracy_class_head", "val/accuracy_distillation_head"} <= set(fitted.logged_metrics)


class NamedBatch(NamedTuple):
    image: Tensor
    label: Tensor


@pytest.mark.parametrize(
    "batch",
    [(IMAGES, LABELS), NamedBatch(IMAGES, LABELS), {"pixel_values": IMAGES, "labels": LABELS}, [IMAGES, LABELS]],
    ids=["tuple", "NamedTuple", "mapping", "list"],
)
@pytest.mark.parametrize(
    "wrap", [lambda y: y, lambda y: (y, y), lambda y: {"logits": y}, lambda y: SimpleNamespace(logits=y)]
)
def test_batches_and_outputs_of_every_form(batch: Any, wrap: Any) -> None:
    class Student(nn.Linear):
        def forward(self, x: Tensor) -> Any:
            return wrap(super().forward(x))

    student, teacher = Student(4, 3), Student(4, 3)
    losses = Distiller(student, teacher).compute_losses(batch)
    torch.testing.assert_close(
        losses["student_loss"], F.cross_entropy(F.linear(IMAGES, student.weight, student.bias), LABELS)
    )


def test_mixed_labels__train_and_are_measured_by_their_largest_share() -> None:
    distiller = classic()
    soft = F.one_hot(LABELS, 3).float() * 0.7 + 0.1
    fitted = trainer()
    fitted.fit(distiller, loader(soft), loader(soft))
    share = (distiller(IMAGES).argmax(1) == LABELS).float().mean()
    assert float(fitted.logged_metrics["val/accuracy"]) == pytest.approx(float(share))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"alpha": 1.5}, r"Expected `alpha` to be in \[0, 1\], but got 1.5"),
        ({"alpha": LinearWarmup(0.0, 2.0)}, r"Expected `alpha` to be in \[0, 1\], but got 2.0"),
        ({"distillation_weight": -1}, "Expected `distillation_weight`"),
        ({"teacher": nn.Linear(4, 7), "example_input": IMAGES[:2]}, r"same number of classes, but got 7 and 3"),
    ],
)
def test_bad_arguments(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Distiller(**({"student": nn.Linear(4, 3), "teacher": nn.Linear(4, 3)} | kwargs))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"temperature": 0}, "Expected `temperature` to be above 0, but got 0"),
        ({"distillation_type": "sofft"}, "Did you mean 'soft'"),
        ({"student": nn.Linear(4, 3), "example_input": IMAGES[:2]}, r"two outputs.*TwoHeadStudent"),
    ],
)
def test_bad_arguments__deit(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DeiTDistiller(**({"student": Pair(), "teacher": nn.Linear(4, 3)} | kwargs))


def test_class_counts_are_checked_before_training__from_the_data_module() -> None:
    class Data(pl.LightningDataModule):
        example_input = IMAGES[:2]

        def train_dataloader(self) -> Any:
            return loader()

    with pytest.raises(ValueError, match="same number of classes, but got 7 and 3"):
        trainer().fit(Distiller(nn.Linear(4, 3), nn.Linear(4, 7), optimizer=SGD), datamodule=Data())


def test_a_teacher_that_returns_nan__stops_at_once_and_names_the_batch() -> None:
    class Broken(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + (float("nan") if torch.equal(x, IMAGES[8:]) else 0.0)

    student = nn.Linear(4, 3)
    with pytest.raises(ValueError, match="NaN or infinity for batch 1 of epoch 0"):
        trainer().fit(Distiller(student, Broken(4, 3), optimizer=SGD), loader())
    assert bool(student.weight.isfinite().all())


def test_an_optimizer_that_is_no_factory() -> None:
    student = nn.Linear(4, 3)
    with pytest.raises(TypeError, match="Expected `optimizer` to be a factory, params -> optimizer, but got SGD"):
        Distiller(student, optimizer=torch.optim.SGD(student.parameters(), lr=0.1))  # type: ignore[arg-type]


def test_a_copy_may_be_made_between_steps() -> None:
    distiller = classic()
    distiller.compute_losses((IMAGES, LABELS))
    assert copy.deepcopy(distiller).teacher is distiller.teacher


def test_without_optimizer() -> None:
    with pytest.raises(ValueError, match=r"Expected `optimizer` of Distiller.*configure_optimizers"):
        trainer().fit(classic(optimizer=None), loader())


def test_preflight_leaves_no_trace() -> None:
    torch.manual_seed(0)
    student = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 3))
    teacher = nn.Linear(4, 3)
    before, random = {k: v.clone() for k, v in student.state_dict().items()}, torch.get_rng_state()
    Distiller(student, teacher, example_input=IMAGES[:2])
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    assert all(module.training for module in student.modules())
    assert torch.equal(random, torch.get_rng_state())


@pytest.mark.parametrize("suffix", [".pt2", ".onnx"])
@pytest.mark.parametrize("kind", ["classic", "deit"])
def test_save__deployable(suffix: str, kind: str, tmp_path: Any) -> None:
    distiller: Any = classic() if kind == "classic" else DeiTDistiller(Pair(), nn.Linear(4, 3))
    path = distiller.eval().save(tmp_path / f"student{suffix}", IMAGES[:1])
    if suffix == ".pt2":
        got = torch.export.load(path).module()(IMAGES[:5])
    else:
        import onnxruntime

        got = torch.from_numpy(onnxruntime.InferenceSession(path).run(None, {"inputs": IMAGES[:5].numpy()})[0])
    torch.testing.assert_close(got, distiller(IMAGES[:5]).detach())
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_save_weights__round_trip_and_misfit(tmp_path: Any) -> None:
    distiller = classic()
    distiller.save(tmp_path / "student.safetensors")
    other = Distiller(nn.Linear(4, 3))
    other.load_weights(tmp_path / "student.safetensors")
    assert torch.equal(other.student.weight, distiller.student.weight)
    with pytest.raises(ValueError, match=r"weight: \[3, 4\] in the file, \[5, 4\] in the network"):
        Distiller(nn.Linear(4, 5)).load_weights(tmp_path / "student.safetensors")
    with pytest.raises(FileNotFoundError, match="no such file"):
        other.load_weights(tmp_path / "other.safetensors")


def test_resume_equals_uninterrupted__bit_for_bit(tmp_path: Any) -> None:
    whole, half, rest = classic(), classic(), classic()
    trainer(max_epochs=4).fit(whole, loader())
    first = trainer(max_epochs=2)
    first.fit(half, loader())
    first.save_checkpoint(tmp_path / "half.ckpt")
    trainer(max_epochs=4).fit(rest, loader(), ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    assert torch.equal(whole.student.weight, rest.student.weight)
    assert not torch.equal(half.student.weight, rest.student.weight)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:It is recommended to use `self.log")
@pytest.mark.filterwarnings("ignore:Using `DistributedSampler` with the dataloaders")
@pytest.mark.parametrize("kind", ["classic", "deit", "baseline"])
def test_ddp__two_processes_equal_one(kind: str) -> None:
    """Same global batch, same start: the mean of two processes' gradients is the gradient of the whole batch."""

    def make() -> Any:
        torch.manual_seed(0)
        teacher = None if kind == "baseline" else nn.Linear(4, 3)
        distiller_type: Any = Distiller if kind == "classic" else DeiTDistiller
        student = nn.Linear(4, 3) if kind == "classic" else Pair()
        return distiller_type(student, teacher, optimizer=SGD, example_input=IMAGES[:2])

    def fit(**kwargs: Any) -> Any:
        distiller = make()
        size = 16 // kwargs["devices"]
        fitted = trainer(max_epochs=2, **kwargs)
        fitted.fit(distiller, DataLoader(TensorDataset(IMAGES, LABELS), batch_size=size))
        return distiller.student.state_dict()

    # Forked, not spawned: a spawned process takes gloo's threads down on its way out, and at times aborts over them.
    one, two = fit(devices=1), fit(devices=2, strategy="ddp_fork")
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value)


class Tokens(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.embedding, self.fc = nn.Embedding(11, width), nn.Linear(width, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        states = self.embedding(input_ids) * attention_mask.unsqueeze(-1)
        return SimpleNamespace(logits=self.fc(states.sum(1)))


def test_mappings_as_inputs__are_keyword_arguments(tmp_path: Any) -> None:
    torch.manual_seed(0)
    inputs = {"input_ids": torch.randint(0, 11, (4, 6)), "attention_mask": torch.ones(4, 6, dtype=torch.long)}
    distiller = Distiller(Tokens(4), Tokens(8), example_input=inputs)
    losses = distiller.compute_losses({**inputs, "labels": LABELS[:4]})
    torch.testing.assert_close(losses["student_loss"], F.cross_entropy(distiller(inputs), LABELS[:4]))
    distiller.save(tmp_path / "student.pt2")
    program = torch.export.load(tmp_path / "student.pt2").module()
    torch.testing.assert_close(program(inputs), distiller(inputs).detach())
