"""Mistakes in Python that a library would answer from deep inside, or that would pass until training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_distill import Distiller
from lightning_distill.distillers.labels import student_loss
from lightning_distill.losses import KLDistillationLoss
from lightning_distill.optim import build_optimizer, parameter_groups

LOGITS = torch.zeros(4, 3)
INDICES = torch.tensor([0, 1, 2, 1])


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (
            INDICES + 5,
            r"shape \[4\] from 0 to 2, as torch\.int64 \(-100 for none\), but got 5, 6, 7\. Give",
        ),
        (INDICES - 1, r"but got -1\. .* count the classes from 0"),
        (INDICES.float(), r"but got torch\.float32 of shape \[4\]\. Convert them: target\.long\(\)"),
        (INDICES.int(), r"but got torch\.int32 of shape \[4\]\. Convert them"),
        (INDICES.bool(), r"but got torch\.bool of shape \[4\]\. Convert them"),
        (INDICES[:, None], r"but got torch\.int64 of shape \[4, 1\]\. .*target\.squeeze\(1\)"),
        (
            nn.functional.one_hot(INDICES),
            r"of shape \[4, 3\]\. For one number per class: target\.float\(\), or",
        ),
    ],
)
def test_labels__that_cross_entropy_cannot_take(target: Tensor, said: str) -> None:
    with pytest.raises(ValueError, match=r"Expected `target` to hold class indices of .*" + said):
        student_loss(nn.CrossEntropyLoss(), LOGITS, target)


def test_labels__errors_of_something_else_stay_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="weight"):
        student_loss(nn.CrossEntropyLoss(weight=torch.ones(7)), LOGITS, INDICES)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"distillation_loss": KLDistillationLoss},
            "`distillation_loss` to be a loss, but got the class KL.*Make one",
        ),
        ({"distillation_loss": "kl"}, "`distillation_loss` to be a loss, a function or a module, but got 'kl'"),
        ({"student_loss": nn.CrossEntropyLoss}, "`student_loss` to be a loss, but got the class CrossEntropyLoss"),
        ({"terms": [1]}, "`terms` to map names to Terms, but got a list"),
    ],
)
def test_arguments__of_another_kind(options: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError, match=f"Expected {said}"):
        Distiller(nn.Linear(4, 3), nn.Linear(4, 3), **options)


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (lambda s, t: s - t, r"Tensor\[4, 3\]"),
        (lambda s, t: 1.0, "float"),
        (lambda s, t: (s - t).sum()[None], r"Tensor\[1\]"),
    ],
)
def test_losses__that_return_no_single_number(loss: Callable[..., Any], said: str) -> None:
    distiller = Distiller(nn.Linear(4, 3), nn.Linear(4, 3), distillation_loss=loss)
    with pytest.raises(ValueError, match="`distillation_loss` .* to return a scalar, but got " + said):
        distiller.compute_losses((torch.zeros(4, 4), INDICES))


def test_optimizer__of_a_frozen_student() -> None:
    distiller = Distiller(nn.Linear(4, 3).requires_grad_(False), optimizer=torch.optim.SGD)
    with pytest.raises(ValueError, match=r"Expected something to train.*Freeze less: `student\.requires_grad_\(\)`"):
        distiller.configure_optimizers()


def test_optimizer__that_is_none() -> None:
    factory: Any = lambda params: None  # noqa: E731
    with pytest.raises(TypeError, match="Expected `optimizer` to return an optimizer, but got NoneType"):
        build_optimizer(factory, parameter_groups(nn.Linear(4, 3)))
