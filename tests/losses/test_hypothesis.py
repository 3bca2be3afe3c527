"""Properties of the logit losses on logits that nobody chose."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import Tensor

from lightning_distill.losses import KLDistillationLoss, RKDLoss, SPLoss, kl_distillation_loss

FEW = settings(derandomize=True, deadline=None, max_examples=60)
VALUES = st.floats(-50, 50, allow_nan=False, width=64)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Logits of a student and a teacher, ``[B, C]``."""
    shape = draw(st.tuples(st.integers(2, 6), st.integers(2, 7)))
    student, teacher = (draw(arrays.arrays(np.float64, shape, elements=VALUES)) for _ in range(2))
    return torch.from_numpy(student), torch.from_numpy(teacher)


def close(first: Tensor, second: Tensor) -> None:
    torch.testing.assert_close(first, second, rtol=1e-8, atol=1e-8)


@FEW
@given(pairs(), st.floats(0.5, 20))
def test_kl__is_not_negative_and_zero_at_agreement(pair: tuple[Tensor, Tensor], temperature: float) -> None:
    student, teacher = pair
    assert float(kl_distillation_loss(student, teacher, temperature)) >= -1e-9
    close(kl_distillation_loss(teacher, teacher, temperature), torch.zeros((), dtype=torch.float64))


@FEW
@given(pairs(), st.floats(-30, 30))
def test_kl__does_not_see_a_shift_of_all_classes(pair: tuple[Tensor, Tensor], shift: float) -> None:
    student, teacher = pair
    close(kl_distillation_loss(student + shift, teacher - shift, 2.0), kl_distillation_loss(student, teacher, 2.0))


@FEW
@given(pairs())
def test_kl__at_high_temperature_is_the_distance_of_centred_logits(pair: tuple[Tensor, Tensor]) -> None:
    """T -> infinity: half the squared distance of the centred logits, divided by the number of classes."""
    student, teacher = (logits / 50 for logits in pair)
    centred = [logits - logits.mean(1, keepdim=True) for logits in (student, teacher)]
    limit = (centred[0] - centred[1]).square().sum(1).mean() / (2 * student.shape[1])
    torch.testing.assert_close(kl_distillation_loss(student, teacher, 1e4), limit, rtol=1e-3, atol=1e-7)


@FEW
@given(pairs())
def test_kl__at_high_temperature_has_the_gradient_of_matched_logits(pair: tuple[Tensor, Tensor]) -> None:
    """T -> infinity (Hinton et al., 2015, section 2.1): the difference of the centred logits, by class and sample."""
    student, teacher = (logits / 50 for logits in pair)
    student.requires_grad_()
    kl_distillation_loss(student, teacher, 1e4).backward()
    apart = (student - student.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    torch.testing.assert_close(student.grad, apart.detach() / student.numel(), rtol=1e-3, atol=1e-6)


@FEW
@given(pairs(), st.randoms(use_true_random=False))
def test_kl__does_not_see_the_order_of_classes_and_samples(pair: tuple[Tensor, Tensor], random: object) -> None:
    student, teacher = pair
    classes = list(range(student.shape[1]))
    random.shuffle(classes)  # type: ignore[attr-defined]
    expected = kl_distillation_loss(student, teacher, 3.0)
    close(kl_distillation_loss(student[:, classes], teacher[:, classes], 3.0), expected)
    close(kl_distillation_loss(student.flip(0), teacher.flip(0), 3.0), expected)


@FEW
@given(pairs(), st.integers(1, 5))
def test_kl__of_a_batch_is_the_mean_of_its_parts(pair: tuple[Tensor, Tensor], cut: int) -> None:
    student, teacher = pair
    cut = min(cut, len(student) - 1)
    loss = KLDistillationLoss(temperature=2.0)
    parts = [loss(student[part], teacher[part]) * len(student[part]) for part in (slice(cut), slice(cut, None))]
    close((parts[0] + parts[1]) / len(student), loss(student, teacher))


RELATIONS: dict[str, Callable[[], Callable[[Tensor, Tensor], Tensor]]] = {"rkd": RKDLoss, "sp": partial(SPLoss)}


@pytest.mark.parametrize("name", RELATIONS)
@FEW
@given(pair=pairs())
def test_relations__do_not_see_the_order_of_samples(name: str, pair: tuple[Tensor, Tensor]) -> None:
    student, teacher = pair
    loss = RELATIONS[name]()
    value = loss(student, teacher)
    assert float(value) >= -1e-9
    torch.testing.assert_close(loss(student.flip(0), teacher.flip(0)), value, rtol=1e-6, atol=1e-8)
    assert float(loss(teacher, teacher)) == pytest.approx(0.0, abs=1e-7)
