"""Logits kept whole, or as the largest and a rest."""

from __future__ import annotations

import math

import pytest
import torch

from lightning_distill.losses import kl_distillation_loss
from lightning_distill.teachers.store import Dense, TopK
from lightning_distill.teachers.store.encoding import encoding_of


def test_dense__float32_keeps_every_bit() -> None:
    logits = torch.randn(4, 7)
    assert torch.equal(Dense("float32").decode(Dense("float32").encode(logits), 7), logits)


def test_dense__float16_rounds_to_eleven_bits() -> None:
    logits = 10 * torch.randn(40, 7, generator=torch.Generator().manual_seed(0))
    decoded = Dense().decode(Dense().encode(logits), 7)
    assert decoded.dtype == torch.float32
    assert 0 < float(((decoded - logits) / logits).abs().max()) <= 2**-11


def test_top_k__kept_classes_have_their_probabilities_and_the_rest_is_even() -> None:
    probabilities = torch.tensor([[0.05, 0.5, 0.15, 0.3], [0.7, 0.1, 0.05, 0.15]])
    encoding = TopK(2, "float32")
    decoded = encoding.decode(encoding.encode(probabilities.log() + 3), 4).softmax(1)
    expected = torch.tensor([[0.1, 0.5, 0.1, 0.3], [0.7, 0.075, 0.075, 0.15]])
    torch.testing.assert_close(decoded, expected)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_top_k__the_kl_is_exact_where_the_rest_is_even(temperature: float) -> None:
    teacher = torch.tensor([[2.0, -1.0, -1.0, 1.0, -1.0], [-2.0, 0.5, -2.0, 3.0, -2.0]])
    student = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
    encoding = TopK(2, "float32")
    decoded = encoding.decode(encoding.encode(teacher), 5)
    exact = kl_distillation_loss(student, teacher, temperature)
    torch.testing.assert_close(kl_distillation_loss(student, decoded, temperature), exact)


def test_top_k__the_kl_by_hand_where_it_is_not() -> None:
    """Against a uniform student, KL is log C minus the entropy: only the rest's own entropy is lost."""
    teacher = torch.tensor([[0.5, 0.3, 0.15, 0.05]])
    encoding = TopK(2, "float32")
    decoded = encoding.decode(encoding.encode(teacher.log()), 4)
    kl = kl_distillation_loss(torch.zeros(1, 4), decoded, temperature=1.0)
    expected = math.log(4) + 0.5 * math.log(0.5) + 0.3 * math.log(0.3) + 0.2 * math.log(0.1)
    assert float(kl) == pytest.approx(expected, abs=1e-6)


def test_top_k__above_temperature_one_the_rest_gets_more_than_it_had() -> None:
    teacher = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    decoded = TopK(2, "float32").decode(TopK(2, "float32").encode(teacher), 4)
    assert float((decoded / 4).softmax(1)[0, 2:].sum()) > float((teacher / 4).softmax(1)[0, 2:].sum())


def test_top_k__maps_and_many_classes() -> None:
    logits = torch.randn(2, 40000, 3)
    fields = TopK(4, "float32").encode(logits)
    assert fields["classes"].dtype == torch.int32
    assert TopK(4).encode(logits[:, :99])["classes"].dtype == torch.int16
    decoded = TopK(4, "float32").decode(fields, 40000)
    torch.testing.assert_close(decoded.logsumexp(1), logits.logsumexp(1))
    assert torch.equal(decoded.argmax(1), logits.argmax(1))


def test_encodings__from_and_to_plain_values() -> None:
    for encoding in (Dense("float32"), TopK(3)):
        assert encoding_of(encoding.plain()) == encoding


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({"kind": "zip"}, "one of|of the kinds dense, top_k, but got"),
        ({"kind": "top_k"}, "settings of the encoding 'top_k'"),
        ({"kind": "top_k", "k": 0}, "`k` to be a whole number of at least 1, but got 0"),
        ({"kind": "dense", "dtype": "float8"}, "`dtype` to be one of 'float16', 'float32', but got 'float8'"),
        (["dense"], "of the kinds"),
    ],
)
def test_encodings__refuse_what_they_are_not(plain: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encoding_of(plain)


def test_top_k__as_many_as_there_are_classes() -> None:
    with pytest.raises(
        ValueError, match=r"`k` to be below the teacher's 3 classes, but got 3\. Keep all logits instead"
    ):
        TopK(3).encode(torch.zeros(1, 3))
