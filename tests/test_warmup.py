"""The rise and fall of a learning rate against torch's own schedulers."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler

from lightning_distill.warmup import WarmupCosine, warmup_cosine


def optimizer() -> torch.optim.Optimizer:
    groups: list[dict[str, Any]] = [
        {"params": [nn.Parameter(torch.ones(1))]},
        {"params": [nn.Parameter(torch.ones(1))], "lr": 2.0},
    ]
    return torch.optim.SGD(groups, lr=0.5)


def rates(scheduler: LRScheduler, epochs: int) -> list[list[float]]:
    found = []
    for _ in range(epochs):
        found.append([group["lr"] for group in scheduler.optimizer.param_groups])
        scheduler.optimizer.step()
        scheduler.step()
    return found


def test_warmup_cosine__is_a_linear_rise_then_torchs_cosine() -> None:
    found = torch.tensor(rates(warmup_cosine(optimizer(), 12, 4, start_factor=0.1), 12))
    rise = torch.tensor(rates(LinearLR(optimizer(), start_factor=0.1, total_iters=4), 4))
    fall = torch.tensor(rates(CosineAnnealingLR(optimizer(), T_max=8), 8))
    torch.testing.assert_close(found, torch.cat([rise, fall]))


def test_warmup_cosine__end_factor_and_no_warmup() -> None:
    factor = WarmupCosine(max_epochs=10, warmup_epochs=0, end_factor=0.2)
    assert factor(0) == 1.0
    assert factor(5) == pytest.approx(0.6)
    assert factor(10) == factor(99) == pytest.approx(0.2)


def test_warmup_cosine__a_run_shorter_than_the_rise() -> None:
    factor = WarmupCosine(max_epochs=2, warmup_epochs=4, start_factor=0.0)
    assert [factor(epoch) for epoch in range(3)] == [0.0, 0.25, 0.5]


def test_warmup_cosine__state_goes_through_a_checkpoint() -> None:
    whole = rates(warmup_cosine(optimizer(), 8, 2), 8)
    first = warmup_cosine(optimizer(), 8, 2)
    rates(first, 5)
    file = io.BytesIO()
    torch.save({"scheduler": first.state_dict(), "optimizer": first.optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    second = warmup_cosine(optimizer(), 8, 2)
    second.optimizer.load_state_dict(saved["optimizer"])
    second.load_state_dict(saved["scheduler"])
    assert rates(second, 3) == whole[5:]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_epochs": 0}, "Expected `max_epochs` to be a whole number of at least 1, but got 0."),
        ({"max_epochs": None}, "Expected `max_epochs` to be a whole number of at least 1, but got None."),
        ({"max_epochs": 3, "warmup_epochs": -1}, "Expected `warmup_epochs` to be a whole number of at least 0"),
        ({"max_epochs": 3, "start_factor": 2.0}, "Expected `start_factor` to be in [0, 1], but got 2.0."),
        ({"max_epochs": 3, "end_factor": -1.0}, "Expected `end_factor` to be in [0, 1], but got -1.0."),
    ],
)
def test_warmup_cosine__refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        WarmupCosine(**arguments)
