"""A teacher's classes as the student's, with probabilities that add up."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_distill import Distiller, FrozenTeacher
from lightning_distill.teachers.class_map import ClassMap
from lightning_distill.types import Batch

LOGITS = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)) * 3
# Student classes 0 and 1 of teacher classes {0, 3} and {1}; 2 and 4 are dropped.
GROUPED = [0, 1, -1, 0, -1]


@pytest.mark.parametrize(
    ("mapping", "picked"),
    [
        ([2, 0, 1, -1, -1], [1, 2, 0]),
        (torch.tensor([-1, -1, 0, 1, -1]), [2, 3]),
        ({0: 4, 1: [0]}, [4, 0]),
        (list(range(5)), list(range(5))),
    ],
)
@pytest.mark.parametrize("multi_label", [False, True])
def test_one_to_one__picks_bit_for_bit(mapping: Any, picked: list[int], multi_label: bool) -> None:
    for logits in (LOGITS, LOGITS.bfloat16(), LOGITS.double()):
        assert torch.equal(ClassMap(mapping, multi_label=multi_label)(logits), logits[:, picked])


@pytest.mark.parametrize("mapping", [GROUPED, {0: [0, 3], 1: 1}])
def test_many_to_one__probabilities_add_up(mapping: Any) -> None:
    mapped = ClassMap(mapping)(LOGITS.double()).softmax(1)
    p = LOGITS.double().softmax(1)
    expected = torch.stack([p[:, 0] + p[:, 3], p[:, 1]], 1) / (p[:, 0] + p[:, 1] + p[:, 3])[:, None]
    torch.testing.assert_close(mapped, expected)


def test_many_to_one__of_log_probabilities_is_the_same_up_to_a_constant() -> None:
    ours, other = ClassMap(GROUPED)(LOGITS), ClassMap(GROUPED)(LOGITS.log_softmax(1))
    torch.testing.assert_close((ours - other).std(1), torch.zeros(6), atol=1e-6, rtol=0)


def test_many_to_one__is_safe_where_probabilities_are_not() -> None:
    mapped = ClassMap([0, 0, 1])(torch.tensor([[1e4, -1e4, 0.0], [float("-inf"), float("-inf"), 0.0]]))
    assert torch.equal(mapped, torch.tensor([[1e4, 0.0], [float("-inf"), 0.0]]))
    assert ClassMap([0, 0])(torch.zeros(1, 2, dtype=torch.bfloat16)).dtype == torch.float32


def test_many_to_one__of_labels_is_the_highest() -> None:
    expected = torch.stack([LOGITS[:, [0, 3]].amax(1), LOGITS[:, 1]], 1)
    assert torch.equal(ClassMap(GROUPED, multi_label=True)(LOGITS), expected)


@pytest.mark.parametrize("mapping", [GROUPED, [2, 0, 1, -1, -1]])
def test_dense_and_sequences__like_single_ones(mapping: Any) -> None:
    expected = ClassMap(mapping)(LOGITS)  # [6, K]
    maps = LOGITS.view(2, 3, 1, 5).permute(0, 3, 1, 2)  # [2, 5, 3, 1]
    assert torch.equal(ClassMap(mapping)(maps), expected.view(2, 3, 1, -1).permute(0, 3, 1, 2))
    assert torch.equal(ClassMap(mapping, class_dim=-1)(LOGITS.view(2, 3, 5)), expected.view(2, 3, -1))


class Tuple(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, str]:
        return x, "more"


def test_teacher__gives_the_students_logits() -> None:
    assert torch.equal(FrozenTeacher(Tuple(), class_map=[-1, 0, 1, 2, -1])(LOGITS), LOGITS[:, 1:4])


def test_distiller__learns_the_students_classes() -> None:
    torch.manual_seed(0)
    teacher = nn.Linear(4, 5)
    sgd = partial(torch.optim.SGD, lr=0.1)
    with pytest.raises(ValueError, match=r"got 5 and 2.*class_map"):
        Distiller(nn.Linear(4, 2), teacher, optimizer=sgd, example_input=torch.zeros(2, 4))
    frozen = FrozenTeacher(teacher, class_map=GROUPED)
    distiller = Distiller(nn.Linear(4, 2), frozen, optimizer=sgd, example_input=torch.zeros(2, 4))
    inputs = torch.randn(3, 4)
    torch.testing.assert_close(distiller.teacher_logits(Batch(inputs)), ClassMap(GROUPED)(teacher(inputs)).detach())
    assert torch.isfinite(distiller.compute_losses((inputs, torch.tensor([0, 1, 1])))["distillation_loss"])


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ([0, 2, -1], "student class a teacher class, but got none for 1"),
        ({1: 0}, "student class a teacher class, but got none for 0"),
        ({0: [], 1: 1}, "but got none for 0"),
        ([-1, -1], "but got no classes at all"),
        ([], "but got no classes at all"),
        ([0, -2], "-1 for a dropped one, but got -2"),
        ([0.0, 1.0], "Expected `class_map` to be a list"),
        ("01", "Expected `class_map` to be a list"),
        ({0: -1}, "Expected `class_map` to map"),
        ({0: ["cat"]}, "Expected `class_map` to map"),
        ({0: 1.0}, "Expected `class_map` to map"),
        ({0: [1, 2], 1: [2]}, "use each teacher class once, but got 2 more than once"),
    ],
)
def test_bad_map(mapping: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FrozenTeacher(nn.Identity(), class_map=mapping)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ([0, 1, 2, -1], "one entry for each of the teacher's 5 classes, but got 4"),
        ({0: 0, 1: 5}, "teacher classes below 5, but got 5"),
    ],
)
def test_map_that_does_not_fit__is_found_before_training(mapping: Any, message: str) -> None:
    teacher = FrozenTeacher(nn.Linear(4, 5), class_map=mapping)
    with pytest.raises(ValueError, match=message):
        Distiller(nn.Linear(4, 2), teacher, example_input=torch.zeros(2, 4))
