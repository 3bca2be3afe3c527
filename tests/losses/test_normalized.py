from __future__ import annotations

import pytest
import torch

from lightning_distill.losses.normalized import NKDLoss, nkd_loss


def test_nkd__equals_the_formula_sample_by_sample() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 4, 5, generator=generator, dtype=torch.float64)
    target = torch.randint(5, (4,), generator=generator)
    expected = []
    for s, t, y in zip(student, teacher, target.tolist(), strict=True):
        keep = [i for i in range(5) if i != y]
        others = ((t[keep] / 3).softmax(0) * (s[keep] / 3).softmax(0).log()).sum()
        expected.append(-t.softmax(0)[y] * s.softmax(0)[y].log() - 1.5 * 9 * others)
    torch.testing.assert_close(nkd_loss(student, teacher, target, temperature=3.0), torch.stack(expected).mean())


def test_nkd__gamma_0_leaves_the_target_class() -> None:
    loss = nkd_loss(torch.zeros(1, 4), torch.zeros(1, 4), torch.tensor([2]), gamma=0.0)
    assert loss.item() == pytest.approx(0.25 * 1.386294, rel=1e-5)


def test_nkd__mixed_labels_are_rejected() -> None:
    with pytest.raises(ValueError, match=r"`target` to hold integer class indices of shape \[2\]"):
        NKDLoss()(torch.zeros(2, 3), torch.zeros(2, 3), target=torch.full((2, 3), 1 / 3))
