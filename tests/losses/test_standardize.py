from __future__ import annotations

import pytest
import torch

from lightning_distill.losses.standardize import standardize_logits


def test_standardize__mean_0_and_unbiased_std_1() -> None:
    logits = 7 + 3 * torch.randn(4, 6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for dim in (1, -1):
        ours = standardize_logits(logits, dim)
        torch.testing.assert_close(ours.mean(dim), torch.zeros_like(ours.mean(dim)))
        torch.testing.assert_close(ours.std(dim), torch.ones_like(ours.std(dim)), rtol=1e-5, atol=0)


@pytest.mark.parametrize("value", [0.0, 0.3, -1e4])
def test_standardize__equal_logits_are_centred_only(value: float) -> None:
    """Rounding leaves a spread of about 1e-8 on 0.3; it must not be blown up to size 1."""
    logits = torch.full((1, 7), value, requires_grad=True)
    ours = standardize_logits(logits)
    assert ours.abs().max() <= 1e-6 * max(abs(value), 1.0)
    (gradient,) = torch.autograd.grad(ours[0, 0], logits)
    torch.testing.assert_close(gradient[0, 0], torch.tensor(6 / 7))


def test_standardize__a_small_but_real_spread_counts() -> None:
    ours = standardize_logits(torch.tensor([[1e-4, 0.0, -1e-4]]))
    torch.testing.assert_close(ours, torch.tensor([[1.0, 0.0, -1.0]]), rtol=2e-3, atol=1e-6)
