"""A student that runs faster keeps its keys, its values and its exports."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_distill import Distiller, FrozenTeacher
from lightning_distill.models import ConvNet, SmallConvNet

IMAGES = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
DATA = TensorDataset(IMAGES, torch.arange(8) % 3)


def distiller(**options: Any) -> Distiller:
    torch.manual_seed(0)
    sgd = partial(torch.optim.SGD, lr=0.1)
    return Distiller(SmallConvNet(3, 3), ConvNet(3, 3, width=4), optimizer=sgd, example_input=IMAGES, **options)


def fit(module: Distiller, **options: Any) -> pl.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    settings = {"max_epochs": 2, "accelerator": "cpu", "enable_checkpointing": False} | quiet | options
    trainer = pl.Trainer(**settings)
    trainer.fit(module, DataLoader(DATA, batch_size=4))
    return trainer


class Strides(pl.Callback):
    """How the student's weights lie in memory while it is trained."""

    def __init__(self) -> None:
        self.seen: list[bool] = []

    def on_train_batch_end(self, trainer: Any, module: Any, *args: Any) -> None:
        self.seen.append(module.student.layer2[0].weight.stride()[1] == 1)


@pytest.mark.parametrize(
    ("memory_format", "precision", "last"),
    [
        ("auto", "32-true", True),
        ("preserve", "32-true", False),
        ("auto", "64-true", False),
        ("channels_last", "64-true", True),
        ("auto", "bf16-mixed", True),
    ],
)
def test_memory_format(memory_format: str, precision: str, last: bool, tmp_path: Path) -> None:
    module = distiller(memory_format=memory_format)
    strides = Strides()
    trainer = fit(module, precision=precision, callbacks=[strides])
    assert strides.seen == [last] * 4
    assert all(p.is_contiguous() for p in module.student.parameters())  # again, when it is over
    assert module.applied["student/memory_format"] == ("channels_last" if last else "preserve")
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    checkpoint = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert checkpoint["lightning_distill"]["applied"] == module.applied
    assert module.applied["teacher/memory_format"] == ("preserve" if precision == "64-true" else "channels_last")


def test_memory_format__only_the_order_of_sums_differs(tmp_path: Path) -> None:
    last, plain = distiller(), distiller(memory_format="preserve")
    fit(last), fit(plain)
    assert list(last.state_dict()) == list(plain.state_dict())
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(last.state_dict()[name], value, rtol=1e-4, atol=1e-6)
    last.save(tmp_path / "student.pt2")
    program = torch.export.load(tmp_path / "student.pt2").module()
    torch.testing.assert_close(program(IMAGES), last.eval()(IMAGES))


def test_export__within_a_fit(tmp_path: Path) -> None:
    class Saves(Strides):
        def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
            module.save(tmp_path / f"{trainer.current_epoch}.pt2")

    strides = Saves()
    fit(distiller(), callbacks=[strides])
    assert strides.seen == [True] * 4
    assert (tmp_path / "1.pt2").exists()


def test_memory_format__leaves_no_trace_in_a_teacher() -> None:
    """A teacher that was trained in this process answers as the one that is loaded from its weights, bit for bit."""
    torch.manual_seed(0)
    sgd = partial(torch.optim.SGD, lr=0.1)
    module = Distiller(ConvNet(3, 1, width=4), optimizer=sgd)
    grey = IMAGES[:, :1].contiguous()
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    loader = DataLoader(TensorDataset(grey, torch.arange(8) % 3), batch_size=4)
    pl.Trainer(max_epochs=1, accelerator="cpu", enable_checkpointing=False, **quiet).fit(module, loader)  # type: ignore[arg-type]
    loaded = ConvNet(3, 1, width=4)
    loaded.load_state_dict(copy.deepcopy(module.student.state_dict()))
    for options in ({}, {"fold_batchnorm": False}):
        assert torch.equal(FrozenTeacher(module.student, **options)(grey), FrozenTeacher(loaded, **options)(grey))  # type: ignore[arg-type]


def test_a_teacher_that_is_tested_as_a_student__stays_as_it_is() -> None:
    model = ConvNet(3, 3, width=4)
    module = Distiller(FrozenTeacher(model), example_input=IMAGES)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    pl.Trainer(accelerator="cpu", **quiet).test(module, DataLoader(DATA, batch_size=4), verbose=False)  # type: ignore[arg-type]
    assert model.layer3[0].weight.is_contiguous()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory_format": "last"}, "Expected `memory_format` to be one of"),
        ({"compile": "max"}, "Expected `compile` to be true, false or a mapping"),
    ],
)
def test_bad_argument(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Distiller(nn.Linear(4, 3), **options)


@pytest.mark.slow
def test_compile__in_place_while_it_is_fitted(tmp_path: Path) -> None:
    graphs: list[Any] = []

    def backend(graph: Any, example: Any) -> Any:
        graphs.append(graph)
        return graph

    compiled, plain = distiller(compile={"backend": backend}), distiller()
    keys = list(compiled.state_dict())
    fit(compiled), fit(plain)
    assert graphs
    assert list(compiled.state_dict()) == keys
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(compiled.state_dict()[name], value)
    compiled.save(tmp_path / "student.pt2")
    assert torch.equal(copy.deepcopy(compiled)(IMAGES), compiled(IMAGES))
    assert compiled.applied["student/compile"] == "on"
