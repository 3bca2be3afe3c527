"""What the Keras original computes, through the real modules and a real Trainer, to 1e-9 in float64."""

from __future__ import annotations

import importlib.util
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from lightning_distill import DeiTDistiller, Distiller
from lightning_distill.losses import HardDistillationLoss, KLDistillationLoss

_spec = importlib.util.spec_from_file_location("keras", Path(__file__).with_name("keras.py"))
keras: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(keras)

close = partial(torch.testing.assert_close, rtol=1e-9, atol=1e-9)
LOSS_CASES = [
    name.removesuffix("/loss")
    for name in keras.arrays()
    if name.endswith("/loss") and name.split("/")[1] in ("kl", "hard", "hard_argmax")
]


@pytest.mark.parametrize("name", LOSS_CASES)
def test_losses(name: str) -> None:
    origin, kind, case, *temperature = name.split("/")
    if origin == "f64" and f"exact/{name[4:]}/loss" in keras.arrays():
        clipped = keras.reference(f"exact/{name[4:]}/loss") - keras.reference(f"{name}/loss")
        if (
            clipped.abs() > 1e-9
            or (keras.reference(f"exact/{name[4:]}/grad") - keras.reference(f"{name}/grad")).abs().max() > 1e-9
        ):
            name = f"exact/{name[4:]}"  # Keras clips probabilities at 1e-7
    if kind == "kl":
        loss: Any = KLDistillationLoss(float(temperature[0][1:]))
    else:
        loss = HardDistillationLoss(0.1, targets="argmax" if kind == "hard_argmax" else "softmax")
    student = keras.reference(f"logits/{case}/student").requires_grad_()
    value = loss(student, keras.reference(f"logits/{case}/teacher"))
    value.backward()
    close(value.detach(), keras.reference(f"{name}/loss"))
    close(student.grad, keras.reference(f"{name}/grad"))


class Recorder(pl.Callback):
    """What a Keras `train_step` returns: losses before the update, accuracy so far; weights after each step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Tensor]] = []
        self.weights: list[dict[str, Tensor]] = []

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        step = {name: value.detach().clone() for name, value in outputs.items()}
        for collection in module.stage_metrics.collections.values():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the collections of other stages have seen nothing yet
                step |= {
                    name.removeprefix("train/"): v for name, v in collection.compute().items() if name[:6] == "train/"
                }
        self.steps.append(step)
        self.weights.append({name: value.clone() for name, value in module.student.state_dict().items()})


def run(distiller: pl.LightningModule) -> tuple[Recorder, dict[str, float]]:
    recorder = Recorder()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = pl.Trainer(
            max_epochs=1,
            accelerator="cpu",
            precision="64-true",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[recorder],
        )
        trainer.fit(distiller, keras.train_loader())
        return recorder, trainer.test(distiller, keras.test_loader(), verbose=False)[0]


def check(recorder: Recorder, tested: dict[str, float], case: str, names: dict[str, str]) -> None:
    for theirs, ours in names.items():
        recorded = torch.stack([step[ours] for step in recorder.steps]).double()
        close(recorded, keras.reference(f"{case}/train/{theirs}"), atol=1e-7 if "accuracy" in theirs else 1e-9)
        if f"{case}/test/{theirs}" in keras.arrays():
            tolerance = 1e-6 if "accuracy" in theirs else 1e-9  # torchmetrics keeps accuracies in float32
            value = tested[f"test/{ours}" if ours != "loss" else "test/student_loss"]
            assert value == pytest.approx(float(keras.reference(f"{case}/test/{theirs}")), abs=tolerance)
    for after in (1, 5):
        for name, value in keras.weights(f"{case}/weights_after{after}").items():
            close(recorder.weights[after - 1][name], value)


ONE = {"student_loss": "student_loss", "distillation_loss": "distillation_loss", "accuracy": "accuracy"}
TWO = ONE | {"head_accuracy": "accuracy_class_head", "dist_head_accuracy": "accuracy_distillation_head"}
SGD = partial(torch.optim.SGD, lr=0.1)


@pytest.mark.parametrize("alpha", [0, 0.1, 0.5, 1])
def test_classic(alpha: float) -> None:
    case = f"f64/distiller/T3/alpha{alpha}"
    student = keras.load(keras.OneHead(), "train/student_init")
    teacher = keras.load(keras.OneHead(32), "train/teacher")
    distiller = Distiller(student, teacher, alpha=alpha, optimizer=SGD)
    recorder, tested = run(distiller)
    check(recorder, tested, case, ONE)
    close(distiller(keras.reference("train/x_test")).detach(), keras.reference(f"{case}/student_logits_test"))


@pytest.mark.parametrize(
    "case",
    sorted({"/".join(n.split("/")[:4]) for n in keras.arrays() if n.startswith(("f64/deit/soft", "f64/deit/hard"))}),
)
def test_deit(case: str) -> None:
    kind, alpha = case.split("/")[2].split("_")[0], float(case.split("alpha")[1])
    student = keras.load(keras.TwoHeads(), "train/student2_init")
    teacher = keras.load(keras.OneHead(32), "train/teacher")
    loss = HardDistillationLoss(0.1, targets="softmax") if kind == "hard" else None
    distiller = DeiTDistiller(
        student, teacher, alpha=alpha, distillation_type=kind, temperature=3.0, distillation_loss=loss, optimizer=SGD
    )
    first = distiller.read_student(keras.reference("train/x")[0])
    close(
        torch.stack([first.class_logits, first.distillation_logits, first.deployed]).detach(),
        keras.reference(f"{case}/outputs_init"),
    )
    recorder, tested = run(distiller)
    check(recorder, tested, case, TWO)
    last = distiller.read_student(keras.reference("train/x_test"))
    close(
        torch.stack([last.class_logits, last.distillation_logits, last.deployed]).detach(),
        keras.reference(f"{case}/outputs_test"),
    )
    close(distiller(keras.reference("train/x_test")).detach(), keras.reference(f"{case}/outputs_test")[2])


def test_deit__none() -> None:
    """The original measures the average of a trained and an untrained head; here the class head alone counts."""
    case = "f64/deit/none"
    student = keras.load(keras.TwoHeads(), "train/student2_init")
    distiller = DeiTDistiller(
        student, keras.load(keras.OneHead(32), "train/teacher"), distillation_type="none", optimizer=SGD
    )
    recorder, tested = run(distiller)
    losses = torch.stack([step["loss"] for step in recorder.steps]).detach()
    close(
        losses.cumsum(0) / torch.arange(1, 6), keras.reference(f"{case}/train/loss")
    )  # a compiled loss is a running mean
    assert tested["test/student_loss"] == pytest.approx(float(keras.reference(f"{case}/test/loss")), abs=1e-9)
    for after in (1, 5):
        for name, value in keras.weights(f"{case}/weights_after{after}").items():
            close(recorder.weights[after - 1][name], value)
    close(distiller(keras.reference("train/x_test")).detach(), keras.reference(f"{case}/outputs_test")[0])


def test_teacher_with_batchnorm_acts_in_inference_mode() -> None:
    teacher = keras.load(keras.NormalizedTeacher(), "train/teacher_bn")
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    with torch.no_grad():
        expected = teacher.eval()(keras.reference("train/x")[0])
    distiller = Distiller(keras.load(keras.OneHead(), "train/student_init"), teacher.train(), optimizer=SGD)
    seen = distiller.train().teacher(keras.reference("train/x")[0])
    run(distiller)
    close(seen, expected)
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
