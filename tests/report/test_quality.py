"""The numbers of the report's page, by hand."""

from __future__ import annotations

from math import log

import pytest
import torch

from lightning_distill.report.predictions import Predictions
from lightning_distill.report.quality import measure_quality

LABELS = torch.tensor([0, 1])


def test_quality__by_hand() -> None:
    """Probabilities of 0.8 and 0.5 against a teacher's 0.5 and 0.9, given to class 0."""
    own = Predictions(torch.tensor([[0.8, 0.2], [0.5, 0.5]]).log(), LABELS)
    teacher = Predictions(torch.tensor([[0.5, 0.5], [0.9, 0.1]]).log(), LABELS)
    found = measure_quality(own, teacher)
    assert found.nll == pytest.approx(-(log(0.8) + log(0.5)) / 2)
    first = 0.5 * log(0.5 / 0.8) + 0.5 * log(0.5 / 0.2)
    second = 0.9 * log(0.9 / 0.5) + 0.1 * log(0.1 / 0.5)
    assert found.teacher_kl == pytest.approx((first + second) / 2)
    assert found.agreement == 1.0
    assert measure_quality(own).teacher_kl is None
