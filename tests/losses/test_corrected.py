from __future__ import annotations

import pytest
import torch

from lightning_distill.losses.corrected import MFTLoss, correct_teacher, mft_loss


def test_correction__a_wrong_teacher_is_mixed_until_the_label_leads_by_the_threshold() -> None:
    teacher = torch.randn(50, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64).softmax(1)
    top, index = teacher.argmax(1), (teacher.argmax(1, keepdim=True) + 1) % 6
    corrected = correct_teacher(teacher, index, threshold=0.2)
    lead = corrected.gather(1, index)[:, 0] - corrected[torch.arange(50), top]
    torch.testing.assert_close(lead, torch.full((50,), 0.2, dtype=torch.float64), rtol=1e-5, atol=0)
    torch.testing.assert_close(corrected.sum(1), torch.ones(50, dtype=torch.float64))
    assert (corrected >= 0).all()


def test_correction__a_right_teacher_gets_surer_but_not_surer_than_1() -> None:
    teacher = torch.tensor([[0.6, 0.4], [0.9, 0.1]], dtype=torch.float64)
    corrected = correct_teacher(teacher, torch.tensor([[0], [0]]), threshold=0.2)
    torch.testing.assert_close(corrected[:, 0], torch.tensor([0.8, 1.0], dtype=torch.float64), rtol=1e-5, atol=0)


def test_mft__is_the_divergence_from_the_corrected_teacher() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 4, 5, generator=generator, dtype=torch.float64)
    target = torch.randint(5, (4,), generator=generator)
    p = correct_teacher((teacher / 2).softmax(1), target[:, None], 0.1)
    expected = 4 * (p * (p.log() - (student / 2).log_softmax(1))).sum(1).mean()
    torch.testing.assert_close(mft_loss(student, teacher, target, temperature=2.0, threshold=0.1), expected)


def test_mft__rejects_a_threshold_above_1() -> None:
    with pytest.raises(ValueError, match=r"`threshold` to be in \[0, 1\], but got 1.5"):
        MFTLoss(threshold=1.5)
