from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lightning_distill.losses.pearson import dist_loss
from lightning_distill.losses.pearson_plus import dist_plus_loss
from tests.losses.golden import entry_by_id, expected_results, load_arrays, read_inputs


def published(name: str) -> tuple[Tensor, dict[str, Tensor]]:
    entry = entry_by_id(f"distplus/torchdistill_{name}")
    inputs = read_inputs(entry, load_arrays(), torch.float64)
    return expected_results(entry, load_arrays())["loss"], inputs


def ours(inputs: dict[str, Tensor], iota: float, kappa: float) -> Tensor:
    return dist_plus_loss(
        inputs["student"],
        inputs["teacher"],
        inputs["ls"],
        inputs["lt"],
        iota=iota,
        kappa=kappa,
        variant="clamped",
    )


def test_dist_plus__differs_from_the_published_value_by_the_sign_of_the_channel_part_only() -> None:
    theirs, inputs = published("channel_only")
    logits_part = dist_loss(inputs["ls"], inputs["lt"], variant="clamped")
    correlation = 1 - (ours(inputs, iota=1.0, kappa=0.0) - logits_part)
    torch.testing.assert_close(theirs, logits_part + correlation, rtol=1e-8, atol=0)


def test_dist_plus__the_spatial_part_is_the_published_one() -> None:
    theirs, inputs = published("all")
    spatial = theirs - published("channel_only")[0]
    difference = ours(inputs, iota=0.0, kappa=1.0) - ours(inputs, iota=0.0, kappa=0.0)
    torch.testing.assert_close(difference, spatial, rtol=1e-8, atol=0)


def test_dist_plus__is_zero_at_agreement() -> None:
    generator = torch.Generator().manual_seed(0)
    features, logits = torch.randn(4, 3, 2, 5, generator=generator), torch.randn(4, 6, generator=generator)
    assert abs(dist_plus_loss(features, features, logits, logits).item()) < 1e-5


def test_dist_plus__names_the_logits_that_differ() -> None:
    features = torch.zeros(2, 3, 2, 2)
    with pytest.raises(ValueError, match="`student_logits` and `teacher_logits`"):
        dist_plus_loss(features, features, torch.zeros(2, 3), torch.zeros(2, 4))
