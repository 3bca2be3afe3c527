"""Mixing against torchvision's transforms, and what becomes of labels."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms import v2

from lightning_distill.data.mixing import Mix, Mixing, mixed, pixels_of, probabilities, share_of
from lightning_distill.types import Batch

IMAGES = torch.rand(6, 3, 8, 12, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 3, 0, 1])
BOX = Mix(0.5, (0.25, 0.75, 0.5, 1.0))


def draws(mixing: Mixing, count: int = 2000) -> list[Mix]:
    return [mixing.draw(epoch, index) for epoch in range(10) for index in range(count // 10)]


def call(mixing: Mixing, batch: Batch, **where: int) -> Batch:
    return mixing(batch, **({"num_classes": 4, "epoch": 0, "index": 0} | where))


def test_mixup__is_torchvisions() -> None:
    mixing = Mixing(mixup_alpha=1.0, cutmix_alpha=0.0, seed=1)
    share = mixing.draw(0, 0).share
    result = call(mixing, Batch(IMAGES, LABELS))
    reference = v2.MixUp(num_classes=4).transform
    assert 0.05 < share < 0.95
    torch.testing.assert_close(result.inputs, reference(IMAGES, {"lam": share, "labels": LABELS, "batch_size": 6}))
    params = {"lam": share, "labels": LABELS, "batch_size": 6}
    torch.testing.assert_close(result.target, reference(LABELS, params))


def test_cutmix__is_torchvisions() -> None:
    mixing = Mixing(mixup_alpha=0.0, cutmix_alpha=1.0, seed=3)
    mix = mixing.draw(0, 0)
    assert mix.box is not None
    rows, columns = pixels_of(IMAGES, mix.box)
    assert 0 < rows.stop - rows.start < 8
    params: dict[str, Any] = {
        "box": (columns.start, rows.start, columns.stop, rows.stop),
        "lam_adjusted": share_of(IMAGES, mix),
        "labels": LABELS,
        "batch_size": 6,
    }
    result = call(mixing, Batch(IMAGES, LABELS))
    reference = v2.CutMix(num_classes=4).transform
    assert torch.equal(result.inputs, reference(IMAGES, params))
    torch.testing.assert_close(result.target, reference(LABELS, params))


def test_cutmix__share_is_that_of_the_pixels() -> None:
    result = mixed(torch.arange(6.0).view(6, 1, 1, 1).expand(6, 1, 8, 12), BOX)
    kept = (result == torch.arange(6.0).view(6, 1, 1, 1)).double().mean(dim=(1, 2, 3))
    assert kept.tolist() == [share_of(IMAGES, BOX)] * 6 == [0.75] * 6
    assert float(result[1, 0, 3, 7]) == 0.0
    assert float(result[0, 0, 3, 7]) == 5.0


def test_draw__distributions() -> None:
    mixing = Mixing(mixup_alpha=0.8, cutmix_alpha=1.0, mix_prob=0.7, switch_prob=0.25)
    mixes = draws(mixing)
    mixups = [mix.share for mix in mixes if mix.box is None and mix.share != 1]
    cutmixes = [mix for mix in mixes if mix.box is not None]
    assert abs(len(mixups) + len(cutmixes) - 1400) < 4 * (2000 * 0.7 * 0.3) ** 0.5
    assert abs(len(cutmixes) - 350) < 4 * (1400 * 0.25 * 0.75) ** 0.5
    assert stats.kstest(mixups, stats.beta(0.8, 0.8).cdf).pvalue > 1e-3
    assert stats.kstest([mix.share for mix in cutmixes], stats.uniform.cdf).pvalue > 1e-3
    sizes = [(1 - mix.share) ** 0.5 for mix in cutmixes if mix.box is not None and min(mix.box[0], 1 - mix.box[1]) > 0]
    heights = [
        mix.box[1] - mix.box[0] for mix in cutmixes if mix.box is not None and min(mix.box[0], 1 - mix.box[1]) > 0
    ]
    assert np.allclose(sizes, heights)


def test_draw__is_a_function_of_seed_epoch_index_and_rank() -> None:
    mixing = Mixing(seed=5)
    np.random.seed(0)
    torch.manual_seed(0)
    first = mixing.draw(2, 3, 1)
    torch.manual_seed(1)
    assert mixing.draw(2, 3, 1) == first
    others = [mixing.draw(3, 2, 1), mixing.draw(2, 4, 1), mixing.draw(2, 3, 0), Mixing(seed=6).draw(2, 3, 1)]
    assert len({first, *others}) == 5


def test_mixing__teacher_input_gets_the_same_mix_at_its_own_size() -> None:
    large = IMAGES.repeat_interleave(4, 2).repeat_interleave(4, 3)
    mixing = Mixing(mixup_alpha=0.0, cutmix_alpha=1.0)
    for index in range(10):
        mix = mixing.draw(0, index)
        assert mix.box is not None
        result = call(mixing, Batch(IMAGES, LABELS, teacher_input=large), index=index)
        for side, other in zip(pixels_of(IMAGES, mix.box), pixels_of(large, mix.box), strict=True):
            assert abs(other.start - 4 * side.start) <= 2
            assert abs(other.stop - 4 * side.stop) <= 2
        assert torch.equal(result.teacher_input, mixed(large, mix))
    blended = call(Mixing(0.8, 0.0), Batch(IMAGES, LABELS, teacher_input=large))
    assert torch.equal(blended.teacher_input[:, :, ::4, ::4], blended.inputs)


def test_mixing__unlabelled_samples_invent_no_label() -> None:
    mixing = Mixing(mixup_alpha=1.0, cutmix_alpha=0.0)
    share = mixing.draw(0, 0).share
    target = call(mixing, Batch(IMAGES, torch.tensor([0, -100, -100, 3, 0, 1]))).target
    assert target is not None
    expected = torch.zeros(6, 4)
    expected[0, 0], expected[0, 1] = share, 1 - share  # with the last
    expected[1, 0] = 1 - share  # unlabelled, with the first
    expected[3, 3] = share  # with an unlabelled one
    expected[4, 0], expected[4, 3] = share, 1 - share
    expected[5, 1], expected[5, 0] = share, 1 - share
    torch.testing.assert_close(target, expected)
    masses = target.sum(dim=1)
    torch.testing.assert_close(masses, torch.tensor([1, 1 - share, 0, share, 1, 1]))


def test_mixing__label_smoothing_is_torchs() -> None:
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    smooth = torch.nn.functional.cross_entropy(logits, LABELS, label_smoothing=0.1)
    torch.testing.assert_close(torch.nn.functional.cross_entropy(logits, probabilities(LABELS, 4, 0.1)), smooth)
    assert probabilities(torch.tensor([-100]), 4, 0.1).tolist() == [[0.0] * 4]


def test_mixing__probabilities_are_mixed_as_they_are() -> None:
    given = torch.softmax(torch.randn(6, 4, generator=torch.Generator().manual_seed(1)), dim=1)
    mixing = Mixing(1.0, 0.0)
    share = mixing.draw(0, 0).share
    torch.testing.assert_close(
        call(mixing, Batch(IMAGES, given)).target, given * share + given.roll(1, 0) * (1 - share)
    )


def test_mixing__never_mixes_at_probability_0_but_labels_are_soft() -> None:
    result = call(Mixing(mix_prob=0.0), Batch(IMAGES, LABELS))
    assert torch.equal(result.inputs, IMAGES)
    assert result.target is not None
    assert torch.equal(result.target, torch.eye(4)[LABELS])


def test_mixing__leaves_the_batch_as_it_was() -> None:
    images, labels = IMAGES.clone(), LABELS.clone()
    for index in range(4):
        call(Mixing(), Batch(images, labels), index=index)
    assert torch.equal(images, IMAGES)
    assert torch.equal(labels, LABELS)


def test_mixing__ids_mappings_and_missing_labels() -> None:
    ids = torch.arange(6)
    result = call(Mixing(1.0, 0.0), Batch({"pixel_values": IMAGES}, None, ids))
    assert result.target is None
    assert result.sample_ids is ids
    assert torch.equal(result.inputs["pixel_values"], call(Mixing(1.0, 0.0), Batch(IMAGES)).inputs)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_mixing__keeps_the_inputs_dtype(dtype: torch.dtype) -> None:
    assert call(Mixing(), Batch(IMAGES.to(dtype), LABELS)).inputs.dtype == dtype


def test_mixing__mean_of_the_batch_is_kept_by_mixup() -> None:
    for a, b in pairwise(draws(Mixing(0.8, 0.0), 10)):
        assert a != b
        torch.testing.assert_close(mixed(IMAGES, a).mean(0), IMAGES.mean(0))


def dense(size: int) -> Tensor:
    return torch.zeros(6, size, size, dtype=torch.long)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (
            Batch(IMAGES, dense(8)),
            r"Expected labels that are mixed to be class indices \[B\] or probabilities \[B, 4\]",
        ),
        (Batch(IMAGES, torch.rand(6, 3)), r"but got torch.float32 of shape \[6, 3\]"),
        (Batch((IMAGES * 255).byte(), LABELS), r"to be float tensors, but got torch.uint8 of shape \[6, 3, 8, 12\]"),
        (Batch({"input_ids": dense(3)}, LABELS), "to be float tensors, but got torch.int64"),
        (Batch(torch.rand(6, 5), LABELS), r"to be images \[B, C, H, W\], but got Tensor\[6, 5\]. Set `cutmix_alpha=0`"),
    ],
)
def test_mixing__refuses_batches(batch: Batch, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(Mixing(mixup_alpha=0.0), batch)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mixup_alpha": -1.0}, "Expected `mixup_alpha` to be a number of at least 0, but got -1.0"),
        ({"cutmix_alpha": "1"}, "Expected `cutmix_alpha` to be a number of at least 0, but got '1'"),
        ({"mixup_alpha": 0, "cutmix_alpha": 0}, "but got 0 for both"),
        ({"mix_prob": 1.1}, r"Expected `mix_prob` to be in \[0, 1\]"),
        ({"switch_prob": -0.1}, r"Expected `switch_prob` to be in \[0, 1\]"),
        ({"label_smoothing": 2}, r"Expected `label_smoothing` to be in \[0, 1\]"),
        ({"seed": -1}, "Expected `seed` to be a whole number of at least 0, but got -1"),
    ],
)
def test_mixing__refuses_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Mixing(**arguments)
