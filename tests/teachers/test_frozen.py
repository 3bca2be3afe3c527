"""Each phrase of the teacher's rule: never trained, always in eval mode, absent from everything, follows moves."""

from __future__ import annotations

import copy
import pickle
from functools import partial
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EMAWeightAveraging
from pytorch_lightning.utilities.model_summary import ModelSummary
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_distill import DeiTDistiller, Distiller, FrozenTeacher

SGD = partial(torch.optim.SGD, lr=0.1)


def teacher_network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 3))


def make(**kwargs: Any) -> Distiller:
    torch.manual_seed(0)
    return Distiller(nn.Linear(4, 3), teacher_network(), optimizer=SGD, **kwargs)


def loader() -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(16, 4, generator=generator)
    return DataLoader(TensorDataset(inputs, inputs[:, :3].argmax(1)), batch_size=8)


def trainer(**kwargs: Any) -> pl.Trainer:
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    return pl.Trainer(**(quiet | {"accelerator": "cpu", "max_epochs": 1} | kwargs))


def teacher_of(distiller: Distiller) -> FrozenTeacher:
    assert distiller.teacher is not None
    return distiller.teacher


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(before: dict[str, Tensor], module: nn.Module) -> bool:
    after = module.state_dict()
    return before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def test_eval_mode__whatever_anyone_calls() -> None:
    distiller = make()
    teacher = teacher_of(distiller)
    distiller.train()
    teacher.train()
    assert not any(module.training for module in teacher.modules())
    teacher.model.train()  # behind its back
    inputs = torch.ones(4, 4)
    first, second = teacher(inputs), teacher(inputs)
    assert torch.equal(first, second)
    assert not any(module.training for module in teacher.modules())


def test_no_gradients__whatever_anyone_calls() -> None:
    distiller = make()
    teacher_of(distiller).requires_grad_(True)
    distiller.requires_grad_(True)
    assert not any(p.requires_grad for p in teacher_of(distiller).parameters())
    assert not teacher_of(distiller)(torch.ones(2, 4, requires_grad=True)).requires_grad
    sum(distiller.compute_losses((torch.ones(2, 4), torch.tensor([0, 1]))).values()).backward()
    assert all(p.grad is None for p in teacher_of(distiller).parameters())


def test_output_is_usable_in_a_graph() -> None:
    answer = FrozenTeacher(nn.Linear(4, 3))(torch.ones(2, 4))
    student = torch.zeros(2, 3, requires_grad=True)
    nn.functional.mse_loss(student, answer).backward()  # fails on tensors made in inference mode
    assert student.grad is not None


def test_unchanged_by_a_fit__bit_for_bit() -> None:
    distiller = make()
    before = state(teacher_of(distiller).model)
    trainer(max_epochs=3).fit(distiller, loader(), loader())
    assert same(before, teacher_of(distiller).model)


def test_absent_from_parameters_state_and_summary() -> None:
    distiller = make()
    student = {f"student.{name}" for name, _ in nn.Linear(4, 3).named_parameters()}
    assert {name for name, _ in distiller.named_parameters()} == student
    assert set(distiller.state_dict()) == student
    assert not any("teacher" in name for name, _ in distiller.named_modules())
    assert ModelSummary(distiller).trainable_parameters == ModelSummary(distiller).total_parameters == 15


def test_absent_from_the_optimizer() -> None:
    distiller = make()
    optimizer = distiller.configure_optimizers()
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert [p.data_ptr() for p in held] == [p.data_ptr() for p in distiller.student.parameters()]


def test_checkpoint__plain_without_teacher_and_loadable(tmp_path: Any) -> None:
    distiller = make(alpha=0.3)
    fitted = trainer()
    fitted.fit(distiller, loader())
    fitted.save_checkpoint(tmp_path / "a.ckpt")
    checkpoint = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert set(checkpoint["state_dict"]) == {"student.weight", "student.bias"}
    assert checkpoint["hyper_parameters"] == {"alpha": 0.3, "teacher_agreement": False}
    loaded = Distiller.load_from_checkpoint(tmp_path / "a.ckpt", student=nn.Linear(4, 3), weights_only=True)
    assert loaded.alpha == 0.3
    assert loaded.teacher is None
    assert same(state(distiller.student), loaded.student)


def test_checkpoint__deit_keeps_its_type(tmp_path: Any) -> None:
    def student() -> nn.Module:
        return Pair()

    distiller = DeiTDistiller(student(), teacher_network(), distillation_type="hard", optimizer=SGD)
    fitted = trainer()
    fitted.fit(distiller, loader())
    fitted.save_checkpoint(tmp_path / "a.ckpt")
    loaded = DeiTDistiller.load_from_checkpoint(tmp_path / "a.ckpt", student=student(), teacher=teacher_network())
    assert loaded.distillation_type == "hard"
    assert type(loaded.distillation_loss).__name__ == "HardDistillationLoss"


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.a(x), self.b(x)


def test_copies_share_it_without_moving_it() -> None:
    distiller = make()
    for clone in (copy.deepcopy(distiller), pickle.loads(pickle.dumps(distiller))):
        clone.double()
        assert next(clone.student.parameters()).dtype == torch.float64
        assert next(teacher_of(distiller).parameters()).dtype == torch.float32
    assert teacher_of(copy.deepcopy(distiller)) is teacher_of(distiller)


def test_a_copy_that_is_trained_adopts_it() -> None:
    clone = copy.deepcopy(make())
    trainer(precision="64-true").fit(clone, loader())
    assert next(teacher_of(clone).parameters()).dtype == torch.float64


def test_averaging_leaves_it_alone(tmp_path: Any) -> None:
    distiller = make()
    before = state(teacher_of(distiller).model)
    average = EMAWeightAveraging(decay=0.5)
    fitted = trainer(callbacks=[average], max_epochs=2)
    fitted.fit(distiller, loader(), loader())
    assert same(before, teacher_of(distiller).model)
    assert average._average_model is not None
    assert not any("teacher" in name for name in average._average_model.state_dict())
    assert average._average_model.module.teacher is distiller.teacher


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [
        ("32-true", torch.float32),
        ("64-true", torch.float64),
        ("bf16-true", torch.bfloat16),
        ("bf16-mixed", torch.float32),
    ],
)
def test_follows_precision(precision: str, dtype: torch.dtype) -> None:
    distiller = make(teacher_agreement=True)
    trainer(precision=precision).fit(distiller, loader(), loader())
    assert next(teacher_of(distiller).parameters()).dtype == dtype


def test_follows_moves() -> None:
    distiller = make()
    assert next(teacher_of(distiller.double()).parameters()).dtype == torch.float64
    assert next(teacher_of(distiller.to("meta")).parameters()).device.type == "meta"


def test_assignment_replaces_it() -> None:
    distiller, other = make(), nn.Linear(4, 3)
    distiller.teacher = other
    assert teacher_of(distiller).model is other
    assert not other.weight.requires_grad
    assert set(distiller.state_dict()) == {"student.weight", "student.bias"}
    distiller.teacher = None
    assert distiller.teacher is None
    with pytest.raises(TypeError, match="`teacher`"):
        distiller.teacher = "resnet"


def test_shared_parameters_are_an_error() -> None:
    network = nn.Linear(4, 3)
    with pytest.raises(ValueError, match=r"no parameters in common.*deepcopy"):
        Distiller(network, network)
