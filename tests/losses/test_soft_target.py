from __future__ import annotations

import pytest
import torch

from lightning_distill.losses.soft_target import KLDistillationLoss, kl_distillation_loss


def plain_kl(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """Sum over classes, mean over rows, from probabilities."""
    p, q = (teacher / temperature).softmax(-1), (student / temperature).softmax(-1)
    return (p * (p / q).log()).sum(-1).mean() * temperature**2


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_kl__equals_the_formula(temperature: float) -> None:
    student, teacher = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ours = kl_distillation_loss(student, teacher, temperature)
    torch.testing.assert_close(ours, plain_kl(student, teacher, temperature))


def test_kl__maps_and_sequences_average_over_positions() -> None:
    student, teacher = torch.randn(2, 2, 3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    flat = plain_kl(student.movedim(1, -1), teacher.movedim(1, -1), 3.0)
    torch.testing.assert_close(kl_distillation_loss(student, teacher), flat)
    torch.testing.assert_close(kl_distillation_loss(student, teacher, class_dim=-1), plain_kl(student, teacher, 3.0))


def test_kl__standardized_ignores_shift_and_scale() -> None:
    student, teacher = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plain = kl_distillation_loss(student, teacher, 2.0, standardize=True)
    moved = kl_distillation_loss(5 * student + 3, teacher, 2.0, standardize=True)
    torch.testing.assert_close(plain, moved, rtol=1e-5, atol=0)
    assert not torch.isclose(plain, kl_distillation_loss(student, teacher, 2.0))


def test_kl__a_zero_head_is_pulled_towards_the_teacher_also_if_standardized() -> None:
    student = torch.zeros(1, 3, requires_grad=True)
    kl_distillation_loss(student, torch.tensor([[3.0, 0.0, -3.0]]), standardize=True).backward()
    assert student.grad[0, 0] < 0 < student.grad[0, 2]
    assert student.grad.abs().max() < 10


def test_kl__temperature_follows_a_schedule() -> None:
    student, teacher = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0))
    loss = KLDistillationLoss(temperature=lambda progress: 1.0 + 3.0 * progress)
    assert loss(student, teacher, progress=1.0) == KLDistillationLoss(4.0)(student, teacher)
    assert loss(student, teacher) == KLDistillationLoss(1.0)(student, teacher)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), lambda progress: 1.0 - progress])
def test_kl__rejects_a_temperature_that_is_not_above_0(temperature: object) -> None:
    with pytest.raises(ValueError, match="`temperature` to be above 0"):
        KLDistillationLoss(temperature)


def test_kl__rejects_logits_without_a_batch() -> None:
    with pytest.raises(ValueError, match=r"\[B, C, ...\], but got \[3\]"):
        kl_distillation_loss(torch.zeros(3), torch.zeros(3))


def test_kl__the_higher_of_two_precisions_counts() -> None:
    student, teacher = torch.randn(2, 4, 3).double()
    torch.testing.assert_close(
        kl_distillation_loss(student.float(), teacher), kl_distillation_loss(student.float().double(), teacher)
    )
