from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lightning_distill.losses.multi_level import MLKDLoss, batch_relation_loss, class_relation_loss, mlkd_loss
from lightning_distill.losses.soft_target import kl_distillation_loss


def pair(batch: int = 4) -> tuple[Tensor, Tensor]:
    student, teacher = torch.randn(2, batch, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return student, teacher


def test_relations__equal_the_sums_over_pairs() -> None:
    student, teacher = pair()
    p, q = (teacher / 3).softmax(1), (student / 3).softmax(1)
    samples = sum(((p[i] @ p[j]) - (q[i] @ q[j])) ** 2 for i in range(4) for j in range(4)) / 4
    classes = sum(((p[:, i] @ p[:, j]) - (q[:, i] @ q[:, j])) ** 2 for i in range(5) for j in range(5)) / 5
    torch.testing.assert_close(batch_relation_loss(student, teacher, 3.0), samples)
    torch.testing.assert_close(class_relation_loss(student, teacher, 3.0), classes)


def test_mlkd__sums_its_parts_over_temperatures_and_views() -> None:
    student, teacher = pair(6)
    expected = sum(
        kl_distillation_loss(s, t, temperature)
        + batch_relation_loss(s, t, temperature)
        + class_relation_loss(s, t, temperature)
        for s, t in ((student[:3], teacher[:3]), (student[3:], teacher[3:]))
        for temperature in (2.0, 4.0)
    )
    torch.testing.assert_close(mlkd_loss(student, teacher, [2.0, 4.0], views=2), expected)


def test_mlkd__standardizes_the_soft_targets_only() -> None:
    student, teacher = pair()
    difference = mlkd_loss(student, teacher, [4.0]) - mlkd_loss(student, teacher, [4.0], standardize=True)
    plain, standardized = (kl_distillation_loss(student, teacher, 4.0, standardize=on) for on in (False, True))
    torch.testing.assert_close(difference, plain - standardized)


def test_mlkd__a_batch_that_the_views_do_not_divide_is_rejected() -> None:
    with pytest.raises(ValueError, match="Expected `views` to divide the batch of 3, but got 2"):
        MLKDLoss(views=2)(torch.zeros(3, 5), torch.zeros(3, 5))


def test_mlkd__maps_are_rejected() -> None:
    with pytest.raises(ValueError, match=r"\[B, C\], but got \[2, 3, 4, 4\]"):
        MLKDLoss()(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4))


def test_mlkd__rejects_a_temperature_of_0() -> None:
    with pytest.raises(ValueError, match="`temperatures` to be above 0"):
        MLKDLoss(temperatures=[2.0, 0.0])
