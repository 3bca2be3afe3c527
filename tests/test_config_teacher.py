"""How the teacher is asked, as typed on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file
from torch import nn
from torchvision.transforms import v2

from lightning_distill.config_teacher import TEACHER_OPTIONS, frozen_teacher
from lightning_distill.data import TensorDataModule
from lightning_distill.models import timm_model
from lightning_distill.pipeline.preflight import check_teacher, preflight
from lightning_distill.pipeline.teacher import teacher_stage
from lightning_distill.teachers import FrozenTeacher
from tests.configs import TINY, composed, options, planned

GIVEN = ("teacher.train=null", "teacher.cache_dir=null", "export=null", "baseline=false")


def teacher_of(folder: Path, *overrides: str) -> FrozenTeacher:
    plan = planned(folder, *overrides).teacher
    assert plan is not None
    return check_teacher(plan)


@pytest.mark.parametrize("option", options("teacher"))
def test_every_teacher__has_these_keys(option: str) -> None:
    config: Any = OmegaConf.to_container(composed(f"teacher={option}").teacher, resolve=False)
    assert set(TEACHER_OPTIONS) <= set(config)
    FrozenTeacher(nn.Identity(), **{name: config[name] for name in TEACHER_OPTIONS})


def test_own_input__is_the_datas_undone(tmp_path: Path) -> None:
    data = ("+data.mean=[0.5]", "+data.std=[0.25]")
    teacher = teacher_of(tmp_path, *GIVEN, *data, "teacher.mean=[0.25]", "teacher.std=[0.5]", "teacher.size=16")
    raw = torch.randint(256, (2, 1, 8, 8)) / 256
    alone = v2.Compose([v2.Resize(16, antialias=True), v2.Normalize([0.25], [0.5])])
    with torch.no_grad():
        expected = teacher.model(alone(raw))
    torch.testing.assert_close(teacher(v2.Normalize([0.5], [0.25])(raw)), expected)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """A network of timm with weights from a file, in place of a download."""
    file = tmp_path_factory.mktemp("weights") / "weights.pth"
    torch.manual_seed(0)
    torch.save(timm_model("test_resnet").state_dict(), file)
    model = ("model_name=test_resnet", "new_head=true")
    overlay = f"+teacher.model.pretrained_cfg_overlay={{file: {file}, mean: [0.5, 0.25, 0.25], std: [0.2, 0.2, 0.2]}}"
    return ("teacher=timm", *(f"teacher.model.{part}" for part in model), overlay, "export=null", "baseline=false")


def test_preprocessing__of_pretrained_weights_comes_by_itself(pretrained: tuple[str, ...], tmp_path: Path) -> None:
    """Grey images: the mean of the three channels' numbers, at the size that the weights were trained on."""
    teacher = teacher_of(tmp_path, *pretrained)
    raw = torch.randint(256, (2, 1, 8, 8)) / 256
    alone = v2.Compose([v2.Resize((160, 160), antialias=True), v2.Normalize([1 / 3], [0.2])])
    with torch.no_grad():
        expected = teacher.model(alone(raw))
    torch.testing.assert_close(teacher(raw), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("override", ["teacher.preprocessing=null", "teacher.size=8"])
def test_preprocessing__is_left_out_or_replaced(override: str, pretrained: tuple[str, ...], tmp_path: Path) -> None:
    teacher = teacher_of(tmp_path, *pretrained, override, "teacher.fold_batchnorm=false")
    raw = torch.rand(2, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(teacher(raw), teacher.model(raw))


def test_preprocessing__of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`teacher.preprocessing` to be one of 'auto', None, but got 'aut'"):
        planned(tmp_path, "teacher.preprocessing=aut")


@pytest.mark.parametrize("typed", ["[0,0,0,0,0,1,1,1,1,-1]", "{0:[0,1,2,3,4],1:[5,6,7,8]}"])
def test_class_map__as_typed(typed: str, tmp_path: Path) -> None:
    teacher = teacher_of(tmp_path, *GIVEN, f"teacher.class_map={typed}", "teacher.model.num_classes=10")
    assert teacher(torch.zeros(1, 1, 8, 8)).shape == (1, 2)


def test_stage__measures_the_teacher_as_it_is_asked_and_saves_it_as_it_is(tmp_path: Path) -> None:
    swap = torch.tensor([*range(1, 10), 0])
    plan = planned(tmp_path, *TINY, *GIVEN, f"teacher.class_map={swap.tolist()}", "trainer.limit_test_batches=1.0")
    assert plan.teacher is not None
    distiller, numbers = teacher_stage(plan.teacher, plan.folder, None)
    assert isinstance(distiller.student, FrozenTeacher)
    network = distiller.student.model
    hits = torch.cat([swap[network(b.inputs).argmax(1)] == b.target for b in plan.stage.data.test_dataloader()])
    assert numbers["test/accuracy"] == pytest.approx(float(hits.float().mean()))
    assert set(load_file(plan.folder.weights("teacher"))) == set(network.state_dict())


def test_input_of_its_own__is_checked_with_the_datas_example() -> None:
    samples = (torch.zeros(6, 4), torch.tensor([0, 1, 2, 0, 1, 2]), torch.arange(6), torch.ones(6, 7))
    data = TensorDataModule(samples, samples, num_classes=3)
    teacher = frozen_teacher({"train": None}, data)(nn.Linear(7, 3))
    assert torch.equal(teacher.example_input, torch.ones(2, 7))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["teacher.size=16"], "Expected no `teacher.size` for a teacher that is trained in this run"),
        ([*GIVEN, "teacher.mean=[0.5]"], "Could not build `teacher`: Expected `mean` and `std` together"),
        ([*GIVEN, "teacher.class_map=[0,1]"], "one entry for each of the teacher's 10 classes, but got 2"),
        ([*GIVEN, "+teacher.sizes=8"], "Unknown config key `teacher.sizes`. Did you mean `teacher.size`?"),
    ],
)
def test_mistake__is_found_before_training(overrides: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        preflight(planned(tmp_path, *overrides))


def test_labels__the_teacher_is_measured_as_the_student_is(tmp_path: Path) -> None:
    loss = "+distiller.student_loss._target_=torch.nn.BCEWithLogitsLoss"
    plan = planned(tmp_path, *TINY, *GIVEN, loss, "loss=bce")
    assert plan.teacher is not None
    distiller = plan.teacher.stage.distiller(plan.teacher.model(), None)
    assert type(distiller.student_loss) is nn.BCEWithLogitsLoss
