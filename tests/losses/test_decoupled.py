from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lightning_distill.losses.decoupled import DKDLoss, dkd_loss
from lightning_distill.losses.soft_target import kl_distillation_loss


def inputs(batch: int = 5, classes: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, batch, classes, generator=generator, dtype=torch.float64)
    return student, teacher, torch.randint(classes, (batch,), generator=generator)


def parts(logits: Tensor, target: int, temperature: float) -> tuple[Tensor, Tensor]:
    """One sample's (p_target, 1 - p_target) and the other classes' probabilities among themselves."""
    probs = (logits / temperature).softmax(0)
    others = torch.cat([probs[:target], probs[target + 1 :]])
    return torch.stack([probs[target], others.sum()]), others / others.sum()


def kl(p: Tensor, q: Tensor) -> Tensor:
    return (p * (p / q).log()).sum()


def test_dkd__equals_the_formula_sample_by_sample() -> None:
    student, teacher, target = inputs()
    expected = []
    for s, t, y in zip(student, teacher, target.tolist(), strict=True):
        (student_pair, student_rest), (teacher_pair, teacher_rest) = parts(s, y, 4.0), parts(t, y, 4.0)
        expected.append(16 * (0.5 * kl(teacher_pair, student_pair) + 2 * kl(teacher_rest, student_rest)))
    ours = dkd_loss(student, teacher, target, alpha=0.5, beta=2.0, temperature=4.0)
    torch.testing.assert_close(ours, torch.stack(expected).mean())


def test_dkd__alpha_and_beta_of_kd_give_kd() -> None:
    """KD is DKD with beta = 1 - p_t(target), so with one sample it can be had from it."""
    student, teacher, target = inputs(batch=1)
    others = 1 - teacher.softmax(1)[0, target[0]].item()
    ours = dkd_loss(student, teacher, target, alpha=1.0, beta=others, temperature=1.0)
    torch.testing.assert_close(ours, kl_distillation_loss(student, teacher, 1.0))


def test_dkd__a_sure_and_wrong_student_has_a_finite_useful_gradient() -> None:
    student = torch.tensor([[-1e4, 1e4, 0.0]], requires_grad=True)
    loss = dkd_loss(student, torch.tensor([[1e4, -1e4, 0.0]]), torch.tensor([0]), temperature=1.0)
    loss.backward()
    assert loss.item() == pytest.approx(2e4 + 8 * 1e4)  # TCKD is the gap of 2e4; NCKD the gap of 1e4 times beta
    assert student.grad[0, 0] < 0


def test_dkd__mixed_labels_are_rejected_with_a_way_out() -> None:
    student, teacher, target = inputs()
    mixed = torch.nn.functional.one_hot(target, 7).double()
    with pytest.raises(ValueError, match=r"`target` to hold integer class indices .* With mixup or cutmix .*DISTLoss"):
        DKDLoss()(student, teacher, target=mixed)


def test_dkd__temperature_follows_a_schedule() -> None:
    student, teacher, target = inputs()
    scheduled = DKDLoss(temperature=lambda progress: 2.0 + progress)(student, teacher, target=target, progress=1.0)
    assert scheduled == DKDLoss(temperature=3.0)(student, teacher, target=target)
