from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lightning_distill.losses.curriculum import CTKDLoss, SoftTargetsAtTemperature, reversal_at
from lightning_distill.losses.soft_target import kl_distillation_loss


def pair(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    student, teacher = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(0), dtype=dtype)
    return student, teacher


def test_ctkd__is_kd_at_its_temperature() -> None:
    student, teacher = pair()
    loss = CTKDLoss(start=2.0, span=3.0, initial=0.0).double()
    assert loss.temperature.item() == 3.5
    torch.testing.assert_close(loss(student, teacher).detach(), kl_distillation_loss(student, teacher, 3.5))


def test_ctkd__gradients_of_student_and_temperature_are_right() -> None:
    """A teacher that needs a gradient gets none, so only these two are checked."""
    student, teacher = pair()
    temperature = torch.tensor(2.5, dtype=torch.float64, requires_grad=True)
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda s, t: SoftTargetsAtTemperature.apply(s, teacher, t), (student, temperature))


@pytest.mark.parametrize(("progress", "factor"), [(0.0, 0.0), (0.05, -0.5), (0.1, -1.0), (0.9, -1.0)])
def test_ctkd__the_temperature_climbs_as_progress_says(progress: float, factor: float) -> None:
    student, teacher = pair()
    loss = CTKDLoss(warmup=0.1).double()
    temperature = loss.temperature.clone().requires_grad_()
    SoftTargetsAtTemperature.apply(student, teacher, temperature).backward()
    raw = loss.raw_temperature.detach().sigmoid()
    downhill = temperature.grad * 20 * raw * (1 - raw)
    loss(student, teacher, progress=progress).backward()
    torch.testing.assert_close(loss.raw_temperature.grad, factor * downhill, rtol=1e-9, atol=1e-15)


def test_ctkd__float32_keeps_the_digits_of_the_temperatures_gradient() -> None:
    """Through float32 autograd at T = 15.6 its error is between 1e-3 and 0.4."""
    gradients = []
    for dtype in (torch.float32, torch.float64):
        student, teacher = pair(torch.float32)
        loss = CTKDLoss().to(dtype)
        loss(student.to(dtype), teacher.to(dtype), progress=1.0).backward()
        gradients.append(loss.raw_temperature.grad.double())
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-5, atol=0)


def test_ctkd__a_step_moves_student_down_and_temperature_up_the_loss() -> None:
    student, teacher = pair()
    loss = CTKDLoss().double()
    optimizer = torch.optim.SGD(loss.parameters(), lr=0.1)
    before = loss(student, teacher, progress=1.0)
    before.backward()
    optimizer.step()
    assert loss(student, teacher, progress=1.0) > before


def test_reversal__without_warmup_is_full_at_once() -> None:
    assert reversal_at(0.0, 0.0) == -1.0


def test_ctkd__rejects_a_start_of_0() -> None:
    with pytest.raises(ValueError, match="`start` to be above 0"):
        CTKDLoss(start=0.0)
