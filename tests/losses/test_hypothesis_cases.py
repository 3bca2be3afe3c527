"""Properties of all losses on logits and features that nobody chose."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.losses.cases import Case, Inputs
from tests.losses.cases_logits import CASES, labelled, labelled_maps, logits, maps
from tests.losses.test_properties import CASES as EVERY
from tests.losses.test_properties import build, call, change_all, change_needs, map_features, rows

FEW = settings(derandomize=True, deadline=None, max_examples=12, suppress_health_check=[HealthCheck.too_slow])
SCALES, BIASES = st.floats(0.01, 15), st.floats(-20, 20)
ALL = [case for case in CASES if case.make in (logits, labelled, maps, labelled_maps)]
# Their value changes with a number that is added to all classes: they compare logits themselves, or their directions.
SEE_SHIFTS = {"bce", "cosine", "mse", "skd"}
FEATURES = [case for case in EVERY if case not in CASES]
# They draw masks or negatives for each place in the batch, or compare a sample with the one before it.
SEE_ORDER = {"mgd", "mgd_classification", "vitkd", "crd", "crd_large", "cc_adjacent"}


def over(chosen: list[Case]) -> Any:
    return pytest.mark.parametrize("case", chosen, ids=[case.name for case in chosen])


def inputs_of(case: Case, draw: st.DataObject) -> Inputs:
    """Logits from flat to one-hot, each network's of its own scale and bias, and labels where the loss reads some."""
    inputs = case.make(torch.Generator().manual_seed(draw.draw(st.integers(0, 2**32))), draw.draw(st.integers(2, 5)))
    scaled = [logits * draw.draw(SCALES) + draw.draw(BIASES) for logits in tensors(inputs)]
    return Inputs(scaled[0], scaled[1], inputs.needs)


def value(case: Case, student: Tensor, teacher: Tensor, needs: Mapping[str, Any]) -> Tensor:
    return call(build(case).double(), Inputs(student, teacher, dict(needs))).detach()


def close(first: Tensor, second: Tensor) -> None:
    torch.testing.assert_close(first, second, rtol=1e-6, atol=1e-6)


def tensors(inputs: Inputs) -> tuple[Tensor, Tensor]:
    assert isinstance(inputs.student, Tensor)
    assert isinstance(inputs.teacher, Tensor)
    return inputs.student, inputs.teacher


@over(ALL)
@FEW
@given(draw=st.data())
def test_value__is_not_negative(case: Case, draw: st.DataObject) -> None:
    inputs = inputs_of(case, draw)
    assert float(value(case, *tensors(inputs), inputs.needs)) >= -1e-9


@over([case for case in ALL if case.zero_at_agreement])
@FEW
@given(draw=st.data())
def test_value__is_zero_at_agreement(case: Case, draw: st.DataObject) -> None:
    inputs = inputs_of(case, draw)
    _, teacher = tensors(inputs)
    assert float(value(case, teacher, teacher, inputs.needs)) == pytest.approx(0.0, abs=1e-7)


@over([case for case in ALL if case.name not in SEE_SHIFTS])
@FEW
@given(draw=st.data(), shift=st.floats(-20, 20))
def test_value__does_not_see_a_shift_of_all_classes(case: Case, draw: st.DataObject, shift: float) -> None:
    inputs = inputs_of(case, draw)
    student, teacher = tensors(inputs)
    expected = value(case, student, teacher, inputs.needs)
    close(value(case, student + shift, teacher - shift, inputs.needs), expected)


@over(ALL)
@FEW
@given(draw=st.data(), order=st.permutations(range(6)))
def test_value__does_not_see_the_order_of_classes(case: Case, draw: st.DataObject, order: list[int]) -> None:
    inputs = inputs_of(case, draw)
    student, teacher = tensors(inputs)
    needs = {name: torch.tensor(order).argsort()[target] for name, target in inputs.needs.items()}
    dim = -1 if case.name == "kd_sequences" else 1
    if dim == -1:
        order = [index for index in order if index < student.shape[-1]]
    moved = [logits.index_select(dim, torch.tensor(order)) for logits in (student, teacher)]
    close(value(case, *moved, needs), value(case, student, teacher, inputs.needs))


@over([case for case in ALL if case.additive])
@FEW
@given(draw=st.data())
def test_value__of_a_batch_is_the_mean_of_its_samples(case: Case, draw: st.DataObject) -> None:
    inputs = inputs_of(case, draw)
    student, teacher = tensors(inputs)
    parts = [
        value(case, student[[i]], teacher[[i]], {name: target[[i]] for name, target in inputs.needs.items()})
        for i in range(len(student))
    ]
    close(torch.stack(parts).mean(), value(case, student, teacher, inputs.needs))


@over(ALL)
@FEW
@given(draw=st.data())
def test_value__does_not_see_the_order_of_samples(case: Case, draw: st.DataObject) -> None:
    inputs = inputs_of(case, draw)
    close(reordered(case, inputs, draw), call(build(case).double(), inputs).detach())


def reordered(case: Case, inputs: Inputs, draw: st.DataObject) -> Tensor:
    """The loss of the same samples in another order."""
    batch = len(inputs.student if isinstance(inputs.student, Tensor) else inputs.student[0])
    order = torch.tensor(draw.draw(st.permutations(range(batch))))

    def moved(tensor: Tensor) -> Tensor:
        return tensor[order] if tensor.ndim and len(tensor) == batch else tensor

    others = dataclasses.replace(
        inputs,
        student=map_features(inputs.student, moved),
        teacher=map_features(inputs.teacher, moved),
        needs=change_needs(inputs, moved, only_floats=False),
    )
    return call(build(case).double(), others).detach()


def features_of(case: Case, draw: st.DataObject) -> Inputs:
    """Features from nearly none to large, with as many samples as there happen to be."""
    scale = draw.draw(SCALES)
    inputs = case.make(torch.Generator().manual_seed(draw.draw(st.integers(0, 2**32))), draw.draw(st.integers(2, 5)))
    return change_all(inputs, lambda tensor: tensor * scale)


@pytest.mark.slow
@over(FEATURES)
@FEW
@given(draw=st.data())
def test_features__value_is_not_negative(case: Case, draw: st.DataObject) -> None:
    assert call(build(case).double(), features_of(case, draw)).item() >= -1e-9


@pytest.mark.slow
@over([case for case in FEATURES if case.zero_at_agreement])
@FEW
@given(draw=st.data())
def test_features__value_is_zero_at_agreement(case: Case, draw: st.DataObject) -> None:
    inputs = features_of(case, draw)
    agreed = dataclasses.replace(inputs, student=map_features(inputs.teacher, torch.clone))
    assert call(build(case).double(), agreed).item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.slow
@over([case for case in FEATURES if case.name not in SEE_ORDER])
@FEW
@given(draw=st.data())
def test_features__value_does_not_see_the_order_of_samples(case: Case, draw: st.DataObject) -> None:
    inputs = features_of(case, draw)
    close(reordered(case, inputs, draw), call(build(case).double(), inputs).detach())


@pytest.mark.slow
@over([case for case in FEATURES if case.additive])
@FEW
@given(draw=st.data())
def test_features__value_of_a_batch_is_the_mean_of_its_samples(case: Case, draw: st.DataObject) -> None:
    inputs = features_of(case, draw)
    count = len(inputs.student if isinstance(inputs.student, Tensor) else inputs.student[0])
    parts = [call(build(case).double(), rows(inputs, i, i + 1)).detach() for i in range(count)]
    close(torch.stack(parts).mean(), call(build(case).double(), inputs).detach())
