from __future__ import annotations

import pytest
import torch

from lightning_distill.losses.weighted import WSLDLoss, wsld_loss


def test_wsld__weights_are_fixed_numbers_for_the_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 4, 5, generator=generator, dtype=torch.float64)
    student.requires_grad_()
    target = torch.randint(5, (4,), generator=generator)
    rows = torch.arange(4)
    errors = [-z.detach().log_softmax(1)[rows, target] for z in (student, teacher)]
    weight = 1 - (-errors[0] / errors[1]).exp()
    soft = -((teacher / 2).softmax(1) * (student / 2).log_softmax(1)).sum(1)
    expected = 4 * (weight * soft).mean()
    (expected_gradient,) = torch.autograd.grad(expected, student)
    ours = wsld_loss(student, teacher, target)
    (gradient,) = torch.autograd.grad(ours, student)
    torch.testing.assert_close(ours, expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-6, atol=1e-9)


def test_wsld__a_student_that_knows_better_is_left_alone() -> None:
    student, target = torch.tensor([[20.0, 0.0]]), torch.tensor([0])
    assert wsld_loss(student, torch.tensor([[0.0, 5.0]]), target) < 1e-6
    assert wsld_loss(student.flip(1), torch.tensor([[5.0, 0.0]]), target) > 1


def test_wsld__mixed_labels_are_rejected() -> None:
    with pytest.raises(ValueError, match="With mixup or cutmix"):
        WSLDLoss()(torch.zeros(2, 3), torch.zeros(2, 3), target=torch.full((2, 3), 1 / 3))
