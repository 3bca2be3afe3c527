"""The teacher's classifier on the student's projected features."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_distill.distillers import SimKDDistiller, Term
from lightning_distill.losses import HintLoss
from lightning_distill.models import ConvNet, SmallConvNet

IMAGES = torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(12) % 10
PATHS: dict[str, Any] = {
    "student_features": "pool",
    "student_head": "fc",
    "teacher_features": "pool",
    "teacher_head": "fc",
}


def make(**options: Any) -> SimKDDistiller:
    torch.manual_seed(0)
    given = {"example_input": IMAGES[:2], "optimizer": partial(torch.optim.SGD, lr=0.1)} | PATHS | options
    return SimKDDistiller(SmallConvNet(10), given.pop("teacher", ConvNet(10)), **given)


def fit(distiller: SimKDDistiller) -> None:
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(max_epochs=2, accelerator="cpu", enable_checkpointing=False, **quiet)
    trainer.fit(distiller, DataLoader(TensorDataset(IMAGES, LABELS), batch_size=6))


def test_loss__is_the_distance_of_the_features_alone() -> None:
    distiller = make().eval()
    student, teacher = distiller.student, distiller.teacher.model
    projected = student.pool(student.layer2(student.layer1(IMAGES)))
    expected = teacher.pool(teacher.layer3(teacher.layer2(teacher.layer1(IMAGES))))
    losses = distiller.compute_losses((IMAGES, LABELS))
    torch.testing.assert_close(losses["simkd"], (projected - expected).square().mean())
    assert distiller.loss_weights() == {"student_loss": 0.0, "distillation_loss": 0.0, "simkd": 1.0}


def test_fit__trains_all_but_the_classifier() -> None:
    distiller = make()
    teacher_head = distiller.teacher.model.fc.weight.clone()
    before = {name: value.clone() for name, value in distiller.student.named_parameters()}
    fit(distiller)
    moved = {n for n, value in distiller.student.named_parameters() if not torch.equal(value, before[n])}
    assert set(before) - moved == {"fc.head.weight", "fc.head.bias"}
    assert torch.equal(distiller.student.fc.head.weight, teacher_head)
    assert torch.equal(distiller.teacher.model.fc.weight, teacher_head)


@pytest.mark.parametrize("name", ["student.pt2", "student.onnx", "student.safetensors"])
def test_export__holds_projector_and_classifier(name: str, tmp_path: Path) -> None:
    distiller = make()
    fit(distiller)
    expected = distiller.eval()(IMAGES)
    distiller.save(tmp_path / name)
    if name.endswith("pt2"):
        found = torch.export.load(tmp_path / name).module()(IMAGES)
    elif name.endswith("onnx"):
        from onnxruntime import InferenceSession

        session = InferenceSession(tmp_path / name)
        found = torch.from_numpy(session.run(None, {session.get_inputs()[0].name: IMAGES.numpy()})[0])
    else:
        other = make().eval()
        other.load_weights(tmp_path / name)
        found = other(IMAGES)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_same_features__give_the_teachers_answers() -> None:
    """Where the projected features are the teacher's, so are the logits."""
    distiller = make()
    teacher = distiller.teacher.model
    with torch.no_grad():
        features = teacher.pool(teacher.layer3(teacher.layer2(teacher.layer1(IMAGES))))
        torch.testing.assert_close(distiller.student.fc(features.flatten(1)), teacher(IMAGES))


def test_without_teacher__is_the_plain_student() -> None:
    torch.manual_seed(0)
    student = SmallConvNet(10)
    distiller = make(teacher=None)
    assert [n for n, _ in distiller.student.named_parameters()] == [n for n, _ in student.named_parameters()]
    assert list(distiller.compute_losses((IMAGES, LABELS))) == ["student_loss"]


def test_the_users_student_is_left_as_it_is() -> None:
    student = SmallConvNet(10)
    SimKDDistiller(student, ConvNet(10), **PATHS, example_input=IMAGES[:2])
    assert isinstance(student.fc, nn.Linear)
    assert student.fc.in_features == 48


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"student_features": "pol"}, "Expected a module path of SmallConvNet, but got 'pol'.*'pool'"),
        ({"teacher_features": "fc"}, "Expected `teacher_features` to be the path of a module that gives maps"),
        ({"teacher_head": "head"}, "Expected a module path of ConvNet, but got 'head'"),
        ({"teacher_features": "layer1"}, "Expected the features to give `teacher_head` 256 numbers per sample"),
        ({"example_input": None}, "Expected `example_input`"),
        ({"terms": {"simkd": Term(HintLoss())}}, "Expected `terms` without 'simkd'"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_bad_input__names_it(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**options)
