"""Networks of a config: any target, facts of the data filled in, or a previous run's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file
from torch import Tensor, nn

from lightning_distill.models import timm_model
from lightning_distill.pipeline.teacher import make_teacher
from tests.configs import composed, planned, tiny_run

HERE = "tests.test_config_networks"


class Net(nn.Module):
    """Someone's own network."""

    def __init__(self, num_classes: int, in_channels: int = 3, depth: int = 1) -> None:
        super().__init__()
        self.depth = depth
        self.layers = nn.Sequential(nn.Conv2d(in_channels, 4, 3), nn.Flatten(), nn.LazyLinear(num_classes))

    def forward(self, images: Tensor) -> Any:
        return self.layers(images)


class Wrapper(nn.Module):
    """A network around another."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Any:
        return self.inner(images)


def student(tmp_path: Path, *overrides: str) -> Any:
    return planned(tmp_path, *overrides).student()


def test_target__of_ones_own_replaces_the_chosen_student(tmp_path: Path) -> None:
    network = student(tmp_path, f"student._target_={HERE}.Net", "+student.depth=3")
    assert type(network).__name__ == "Net"
    assert network.depth == 3
    assert network.layers[0].in_channels == 1  # of the digits: nothing else was typed
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_target__typed_arguments_are_kept(tmp_path: Path) -> None:
    network = student(tmp_path, f"student._target_={HERE}.Net", "student.num_classes=4")
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 4)


def test_target__an_argument_that_it_does_not_take(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Unknown config key `student.dept`. Did you mean `student.depth`"):
        planned(tmp_path, f"student._target_={HERE}.Net", "+student.dept=3")


def test_target__of_a_nested_network_is_filled_in(tmp_path: Path) -> None:
    network = student(tmp_path, f"student._target_={HERE}.Wrapper", f"+student.inner._target_={HERE}.Net")
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_target__of_the_teacher(tmp_path: Path) -> None:
    plan = planned(tmp_path, f"teacher.model._target_={HERE}.Net", "+teacher.model.depth=2")
    assert plan.teacher is not None
    assert make_teacher(plan.teacher).depth == 2
    assert OmegaConf.create(plan.config).teacher.model == {
        "_target_": f"{HERE}.Net",
        "num_classes": 10,
        "in_channels": 1,
        "depth": 2,
    }


@pytest.mark.parametrize(
    "overrides",
    [
        ("student=timm", "student.model_name=test_resnet"),
        ("student=timm", "student.model_name=test_vit", "+student.patch_size=4"),
        ("student=torchvision", "student.model_name=squeezenet1_1", "data.batch_size=4"),
        ("student=transformers", "+student.hidden_size=8", "+student.num_hidden_layers=1", "+student.patch_size=4")
        + ("+student.num_attention_heads=2", "+student.intermediate_size=8"),
        ("student=cifar",),
    ],
    ids=["timm-cnn", "timm-vit", "torchvision", "transformers", "cifar"],
)
def test_libraries__students_fit_the_data(overrides: tuple[str, ...], tmp_path: Path) -> None:
    network = student(tmp_path, *overrides).eval()
    images = torch.zeros(2, 1, 32, 32) if "torchvision" in overrides[0] else torch.zeros(2, 1, 8, 8)
    output = network(images)
    assert getattr(output, "logits", output).shape == (2, 10)


def test_teacher__own_weights_for_a_network_of_timm(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = timm_model("test_resnet", num_classes=10, in_chans=1)
    torch.save({"state_dict": {f"net.{k}": v for k, v in network.state_dict().items()}}, tmp_path / "x.ckpt")
    overrides = ("teacher=timm", "teacher.model.model_name=test_resnet", "teacher.model.pretrained=false")
    plan = planned(tmp_path, *overrides, f"teacher.checkpoint={tmp_path}/x.ckpt", "teacher.submodule=net")
    assert plan.teacher is not None
    state = make_teacher(plan.teacher).state_dict()
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("previous") / "run"
    tiny_run(folder, "distiller=deit", "student.dim=16", "export=null", "baseline=false")
    return folder


def test_run__needs_an_architecture_that_fits(previous: Path, tmp_path: Path) -> None:
    plan = planned(tmp_path, f"teacher.run={previous}")
    assert plan.teacher is not None
    with pytest.raises(ValueError, match=r"student.safetensors to fit the teacher, a ConvNet, but .*trust_config=true"):
        make_teacher(plan.teacher)


def test_run__its_teacher_fits_the_same_config(previous: Path, tmp_path: Path) -> None:
    plan = planned(tmp_path, f"teacher.run={previous}", "teacher.run_role=teacher")
    assert plan.teacher is not None
    saved = load_file(previous / "teacher.safetensors")
    state = make_teacher(plan.teacher).state_dict()
    assert all(torch.equal(value, saved[name]) for name, value in state.items())


def test_run__trusted_brings_its_network(previous: Path, tmp_path: Path) -> None:
    """Of a student with two heads, the teacher is what was deployed: their average."""
    plan = planned(tmp_path, f"teacher.run={previous}", "trust_config=true")
    assert plan.teacher is not None
    teacher = make_teacher(plan.teacher).eval()
    images = torch.rand(2, 1, 8, 8)
    heads = teacher.student(images)
    assert torch.equal(teacher(images), sum(heads) / 2)
    saved = load_file(previous / "student.safetensors")
    assert all(torch.equal(value, saved[name]) for name, value in teacher.student.state_dict().items())


def test_run__becomes_a_checkpoint_in_the_config(previous: Path, tmp_path: Path) -> None:
    config = OmegaConf.create(planned(tmp_path, f"teacher.run={previous}", "trust_config=true").config)
    assert config.teacher.run is None
    assert config.teacher.checkpoint == str(previous / "student.safetensors")
    assert composed().teacher.run is None


def test_run__is_taught_from(previous: Path, tmp_path: Path) -> None:
    tiny_run(tmp_path, f"teacher.run={previous}", "trust_config=true", "baseline=false", "export=null")
    assert (tmp_path / "student.safetensors").exists()
    assert (tmp_path / "teacher.safetensors").exists()


def test_student_checkpoint__folder_of_a_run(previous: Path, tmp_path: Path) -> None:
    network = student(tmp_path, "distiller=deit", "student.dim=16", f"student_checkpoint={previous}")
    saved = load_file(previous / "student.safetensors")
    assert all(torch.equal(value, saved[name]) for name, value in network.state_dict().items())
