"""A teacher with its own resolution, normalisation and input is asked exactly as it would be alone."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from lightning_distill import Distiller, FrozenTeacher
from lightning_distill.models import ConvNet, SmallConvNet
from lightning_distill.types import Batch

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def network() -> ConvNet:
    torch.manual_seed(0)
    model = ConvNet(5, in_channels=3, width=4).eval()
    model(torch.rand(4, 3, 16, 16))
    return model


def images(*shape: int) -> Tensor:
    """Pixels as a decoder gives them: multiples of 1/256."""
    return torch.randint(256, shape or (4, 3, 12, 12), generator=torch.Generator().manual_seed(0)) / 256


def exact(model: nn.Module, **options: Any) -> FrozenTeacher:
    return FrozenTeacher(model, fold_batchnorm=False, **options)


@pytest.mark.parametrize("size", [20, (20, 20), 12, 7])
def test_own_resolution_and_normalisation__bit_equal_to_running_alone(size: Any) -> None:
    raw, model = images(), network()
    alone = v2.Compose([v2.Resize(size, antialias=True), v2.Normalize(MEAN, STD)])
    with torch.no_grad():
        expected = model(alone(raw))
    assert torch.equal(exact(model, mean=MEAN, std=STD, size=size)(raw), expected)


def test_own_normalisation__undoes_the_students() -> None:
    raw, model = images(), network()
    # Halves and quarters: the student's normalisation is undone without rounding, so that bits can be compared.
    data = {"data_mean": 0.5, "data_std": (0.25, 0.5, 0.5)}
    for_student = v2.Normalize([0.5] * 3, [0.25, 0.5, 0.5])(raw)
    own = {"mean": (0.5, 0.25, 0.5), "std": 0.25}
    with torch.no_grad():
        expected = model(v2.Normalize([0.5, 0.25, 0.5], [0.25] * 3)(raw))
    assert torch.equal(exact(model, **own, **data)(for_student), expected)
    rounded = FrozenTeacher(model, mean=MEAN, std=STD, data_mean=0.1307, data_std=0.3081)
    answer = rounded(v2.Normalize([0.1307] * 3, [0.3081] * 3)(raw))
    torch.testing.assert_close(answer, exact(model, mean=MEAN, std=STD)(raw), rtol=1e-5, atol=1e-5)


def test_own_normalisation__undone_alone() -> None:
    assert torch.equal(
        exact(nn.Identity(), data_mean=0.5, data_std=0.25)(torch.ones(1, 3, 2, 2)), torch.full((1, 3, 2, 2), 0.75)
    )


def test_shorter_edge__as_torchvision() -> None:
    raw = images(2, 3, 9, 14)
    assert torch.equal(FrozenTeacher(nn.Identity(), size=18)(raw), v2.functional.resize(raw, [18], antialias=True))


def test_nothing_to_do__hands_the_very_tensor_on() -> None:
    raw = images()
    same = {"mean": MEAN, "std": STD, "data_mean": MEAN, "data_std": STD}
    for options in ({}, same, {"size": 12}, {"size": (12, 12)}, same | {"size": 12}):
        assert FrozenTeacher(nn.Identity(), **options)(raw) is raw  # type: ignore[arg-type]


def test_precision__is_the_inputs() -> None:
    teacher = FrozenTeacher(nn.Identity(), mean=0.5, std=0.5, size=8)
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        assert teacher(images().to(dtype)).dtype == dtype
    torch.testing.assert_close(teacher(images().double()), teacher(images()).double(), rtol=1e-5, atol=1e-5)


def test_mapping__only_the_image_is_changed() -> None:
    class Captioned(nn.Module):
        def forward(self, pixel_values: Tensor, input_ids: Tensor) -> tuple[Tensor, Tensor]:
            return pixel_values, input_ids

    ids = torch.tensor([[1, 2]])
    pixels, same = FrozenTeacher(Captioned(), size=4)({"pixel_values": images(1, 3, 8, 8), "input_ids": ids})
    assert pixels.shape == (1, 3, 4, 4)
    assert same is ids


def test_teacher_input__is_passed_as_it_is() -> None:
    teacher = FrozenTeacher(nn.Identity(), mean=0.5, std=0.5, size=4)
    own = images(1, 3, 6, 6)
    assert teacher.answer(Batch(images(1, 3, 8, 8), teacher_input=own)) is own
    assert teacher.answer(Batch(images(1, 3, 8, 8))).shape == (1, 3, 4, 4)


def test_teacher_input__of_another_kind_is_checked_with_the_teachers_example() -> None:
    torch.manual_seed(0)
    sound = FrozenTeacher(nn.Linear(7, 5), example_input=torch.zeros(2, 7))
    distiller = Distiller(SmallConvNet(5, 3), sound, example_input=images())
    losses = distiller.compute_losses(Batch(images(), torch.tensor([0, 1, 2, 3]), teacher_input=torch.ones(4, 7)))
    assert torch.isfinite(losses["distillation_loss"])
    with pytest.raises(ValueError, match="same number of classes, but got 6 and 5"):
        Distiller(
            SmallConvNet(5, 3), FrozenTeacher(nn.Linear(7, 6), example_input=torch.zeros(2, 7)), example_input=images()
        )


def test_distiller__asks_it_on_its_own_input() -> None:
    model = network()
    distiller = Distiller(SmallConvNet(5, 3), FrozenTeacher(model, mean=MEAN, std=STD, size=16), example_input=images())
    alone = v2.Compose([v2.Resize(16, antialias=True), v2.Normalize(MEAN, STD)])
    with torch.no_grad():
        torch.testing.assert_close(
            distiller.teacher_logits(Batch(images())), model(alone(images())), rtol=1e-5, atol=1e-6
        )


def test_pickled__asks_the_same() -> None:
    teacher = FrozenTeacher(nn.Identity(), mean=MEAN, std=STD, size=4)
    answer = teacher(images())
    assert torch.equal(pickle.loads(pickle.dumps(teacher))(images()), answer)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mean": 0.5}, "Expected `mean` and `std` together, but got `mean` alone. Pass `std`"),
        ({"data_std": 0.5}, "Expected `data_mean` and `data_std` together"),
        ({"mean": 0.5, "std": (0.5, 0.0, 1.0)}, "Expected `std` to be above 0"),
        ({"mean": MEAN, "std": (0.5, 0.5)}, "but got 2 and 3"),
        ({"mean": "0.5", "std": 1.0}, "Expected `mean` to be a number or one number per channel"),
        ({"size": 0}, "Expected `size` to be a number of pixels"),
        ({"size": (1, 2, 3)}, "Expected `size` to be a number of pixels"),
        ({"size": 7.5}, "Expected `size` to be a number of pixels"),
    ],
)
def test_bad_argument(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FrozenTeacher(nn.Identity(), **options)


@pytest.mark.parametrize("inputs", [torch.ones(2, 4), {"input_ids": torch.ones(2, 4)}])
def test_no_images(inputs: Any) -> None:
    with pytest.raises(ValueError, match=r"Expected images \[B, C, H, W\].*`teacher_input`"):
        FrozenTeacher(nn.Identity(), size=4)(inputs)
