"""The same list of properties for every loss (see ``cases.py``)."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.losses.cases import Case, Features, Inputs, all_cases

CASES = all_cases()
DTYPES = [torch.float16, torch.bfloat16, torch.float32]
every_case = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=["fp16", "bf16", "fp32"])


def map_features(features: Features, change: Callable[[Tensor], Tensor]) -> Features:
    return tuple(change(t) for t in features) if isinstance(features, tuple) else change(features)


def as_tuple(features: Features) -> tuple[Tensor, ...]:
    return features if isinstance(features, tuple) else (features,)


def is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def change_needs(inputs: Inputs, change: Callable[[Tensor], Tensor], only_floats: bool = True) -> dict[str, Any]:
    return {
        name: change(value) if isinstance(value, Tensor) and (is_float(value) or not only_floats) else value
        for name, value in inputs.needs.items()
    }


def change_all(inputs: Inputs, change: Callable[[Tensor], Tensor]) -> Inputs:
    """``change`` applied to the student, the teacher and the floating needs."""
    return dataclasses.replace(
        inputs,
        student=map_features(inputs.student, change),
        teacher=map_features(inputs.teacher, change),
        needs=change_needs(inputs, change),
    )


def make(case: Case, batch: int = 4, seed: int = 0) -> Inputs:
    return case.make(torch.Generator().manual_seed(seed), batch)


def build(case: Case) -> nn.Module:
    torch.manual_seed(0)
    return case.build()


def call(module: Callable[..., Tensor], inputs: Inputs) -> Tensor:
    """The loss; random draws (masks, negatives) are the same in every call."""
    torch.manual_seed(1)
    return module(inputs.student, inputs.teacher, **inputs.needs)


def as_leaves(inputs: Inputs, dtype: torch.dtype) -> tuple[Inputs, list[Tensor], list[Tensor]]:
    """``inputs`` in ``dtype`` as leaves; the ones of the student's side, and the teacher's."""
    leaf = lambda t: t.detach().to(dtype).clone().requires_grad_()  # noqa: E731
    student, teacher = map_features(inputs.student, leaf), map_features(inputs.teacher, leaf)
    needs = change_needs(inputs, leaf)
    trained = [needs[name] for name in inputs.trained_needs]
    fixed = [v for n, v in needs.items() if is_float(v) and n not in inputs.trained_needs]
    leaves = dataclasses.replace(inputs, student=student, teacher=teacher, needs=needs)
    return leaves, [*as_tuple(student), *trained], [*as_tuple(teacher), *fixed]


def check_finite(case: Case, inputs: Inputs, dtype: torch.dtype, module_dtype: torch.dtype = torch.float32) -> None:
    module = build(case).to(module_dtype)
    leaves, student_side, teacher_side = as_leaves(inputs, dtype)
    loss = call(module, leaves)
    assert loss.shape == ()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss), f"the value is {loss.item()}"
    if loss.requires_grad:
        loss.backward()
    for tensor in student_side:
        assert tensor.grad is None or torch.isfinite(tensor.grad).all(), "the student's gradient is not finite"
    for name, parameter in module.named_parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), f"{name}'s gradient is not finite"
    assert all(tensor.grad is None for tensor in teacher_side), "the teacher's side got a gradient"


@every_dtype
@every_case
def test_finite__ordinary(case: Case, dtype: torch.dtype) -> None:
    check_finite(case, make(case), dtype)


def large(case: Case, tensor: Tensor) -> Tensor:
    """Entries at exactly ``+-scale``: no overflow in float16, and margins of at least ``scale``."""
    return tensor.sign() * case.scale


@every_dtype
@every_case
def test_finite__large_margin(case: Case, dtype: torch.dtype) -> None:
    check_finite(case, change_all(make(case), lambda t: large(case, t)), dtype)


@every_dtype
@every_case
def test_finite__large_margin_opposed(case: Case, dtype: torch.dtype) -> None:
    """The student is sure of what the teacher rules out."""
    inputs = change_all(make(case), lambda t: large(case, t))
    if all(s.shape == t.shape for s, t in zip(as_tuple(inputs.student), as_tuple(inputs.teacher), strict=False)):
        inputs = dataclasses.replace(inputs, student=map_features(inputs.teacher, torch.neg))
    check_finite(case, inputs, dtype)


@every_dtype
@every_case
@pytest.mark.parametrize("side", ["student", "both"])
def test_finite__zeros(case: Case, dtype: torch.dtype, side: str) -> None:
    """A zero-initialised head or dead features: of the student alone, and of both."""
    inputs = make(case)
    zero = change_all(inputs, torch.zeros_like)
    check_finite(case, zero if side == "both" else dataclasses.replace(inputs, student=zero.student), dtype)


@every_dtype
@every_case
def test_finite__one_zero_sample(case: Case, dtype: torch.dtype) -> None:
    def drop_first(tensor: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(tensor[:1]), tensor[1:]])

    check_finite(case, change_all(make(case), drop_first), dtype)


@every_dtype
@every_case
def test_finite__dead_channel(case: Case, dtype: torch.dtype) -> None:
    def kill(tensor: Tensor) -> Tensor:
        return tensor if tensor.dim() < 2 else torch.cat([torch.zeros_like(tensor[:, :1]), tensor[:, 1:]], dim=1)

    check_finite(case, change_all(make(case), kill), dtype)


@every_dtype
@every_case
def test_finite__duplicate_samples(case: Case, dtype: torch.dtype) -> None:
    check_finite(case, change_all(make(case), lambda t: t[:1].expand_as(t)), dtype)


@every_dtype
@every_case
def test_finite__two_duplicates(case: Case, dtype: torch.dtype) -> None:
    check_finite(case, change_all(make(case), lambda t: torch.cat([t[:1], t[:1], t[2:]])), dtype)


@every_dtype
@every_case
def test_finite__agreement(case: Case, dtype: torch.dtype) -> None:
    """Student equals teacher: where norms and standard deviations of the difference have no slope."""
    inputs = make(case)
    if not same_shapes(inputs):
        return
    check_finite(case, dataclasses.replace(inputs, student=map_features(inputs.teacher, torch.clone)), dtype)


@every_dtype
@every_case
def test_finite__batch_of_one(case: Case, dtype: torch.dtype) -> None:
    check_finite(case, make(case, batch=1), dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["fp16", "bf16"])
@every_case
def test_finite__half_precision_module(case: Case, dtype: torch.dtype) -> None:
    """A run in true half precision casts the loss's own parameters too."""
    check_finite(case, make(case), dtype, module_dtype=dtype)


def gradients(case: Case, inputs: Inputs, dtype: torch.dtype, autocast: bool = False) -> tuple[Tensor, list[Tensor]]:
    leaves, student_side, _ = as_leaves(inputs, dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        loss = call(build(case), leaves)
    if loss.requires_grad:
        loss.backward()
    return loss.detach(), [torch.zeros_like(t) if t.grad is None else t.grad.float() for t in student_side]


def check_near(name: str, actual: Tensor, expected: Tensor, tolerance: float) -> None:
    bound = tolerance * float(expected.abs().max()) + 1e-6
    worst = float((actual - expected).abs().max())
    assert worst <= bound, f"{name}: off by {worst:.3g}, allowed {bound:.3g}"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["fp16", "bf16"])
@every_case
def test_half_precision__equals_fp32(case: Case, dtype: torch.dtype) -> None:
    """The same numbers, given in half precision and in float32, differ by the rounding of the gradient only."""
    inputs = change_all(make(case), lambda t: t.to(dtype).double())
    half, half_gradients = gradients(case, inputs, dtype)
    full, full_gradients = gradients(case, inputs, torch.float32)
    check_near("value", half, full, 1e-4)
    for i, (ours, theirs) in enumerate(zip(half_gradients, full_gradients, strict=True)):
        check_near(f"gradient {i}", ours, theirs, torch.finfo(dtype).eps * 2)


@every_case
def test_half_precision__autocast_does_not_lower(case: Case) -> None:
    """A loss that only is a formula computes in float32 inside an autocast region."""
    if next(build(case).parameters(), None) is not None:
        return  # its projections may run in half precision like the rest of the network
    lowered, lowered_gradients = gradients(case, make(case), torch.float32, autocast=True)
    full, full_gradients = gradients(case, make(case), torch.float32)
    check_near("value", lowered, full, 1e-5)
    for i, (ours, theirs) in enumerate(zip(lowered_gradients, full_gradients, strict=True)):
        check_near(f"gradient {i}", ours, theirs, 1e-5)


@every_case
def test_float64__is_not_lowered(case: Case) -> None:
    assert call(build(case).double(), make(case)).dtype == torch.float64


@every_case
def test_gradcheck(case: Case) -> None:
    if not case.gradcheck:
        assert case.reason, f"{case.name} switches gradcheck off without a reason"
        return
    module = build(case).double()
    leaves, student_side, _ = as_leaves(make(case, batch=3), torch.float64)
    count = len(as_tuple(leaves.student))

    def loss_of(*tensors: Tensor) -> Tensor:
        student = tensors[:count] if isinstance(leaves.student, tuple) else tensors[0]
        needs = dict(zip(leaves.trained_needs, tensors[count:], strict=True))
        trial = dataclasses.replace(leaves, student=student, needs={**leaves.needs, **needs})
        return call(copy.deepcopy(module), trial)  # a copy: a loss with a memory changes it in each call

    assert torch.autograd.gradcheck(loss_of, tuple(student_side), fast_mode=case.fast_gradcheck)


def same_shapes(inputs: Inputs) -> bool:
    student, teacher = as_tuple(inputs.student), as_tuple(inputs.teacher)
    return [t.shape for t in student] == [t.shape for t in teacher]


@every_case
def test_agreement__is_zero(case: Case) -> None:
    if not case.zero_at_agreement:
        return
    inputs = make(case)
    agreed = dataclasses.replace(inputs, student=map_features(inputs.teacher, torch.clone))
    module = build(case).double()
    assert abs(call(module, agreed).item()) < 1e-9
    assert call(build(case).double(), inputs).item() > 1e-6, "it is zero without agreement too"


@every_case
def test_module__equals_function(case: Case) -> None:
    if case.function is None:
        return
    inputs = make(case)
    torch.testing.assert_close(call(build(case).double(), inputs), call(case.function, inputs), rtol=1e-12, atol=1e-14)


def one_wider(tensor: Tensor) -> Tensor:
    return torch.cat([tensor, tensor[:, :1]], dim=1)


@every_case
def test_wrong_shape__names_the_argument(case: Case) -> None:
    if case.wrong_name is None:
        return
    inputs = make(case)
    wrong = dataclasses.replace(inputs, student=map_features(inputs.student, one_wider))
    with pytest.raises(ValueError, match=r"Expected .*but got") as error:
        call(build(case).double(), wrong)
    assert case.wrong_name in str(error.value)


def rows(inputs: Inputs, start: int, stop: int) -> Inputs:
    def cut(tensor: Tensor) -> Tensor:
        return tensor[start:stop]

    return dataclasses.replace(
        inputs,
        student=map_features(inputs.student, cut),
        teacher=map_features(inputs.teacher, cut),
        needs=change_needs(inputs, cut, only_floats=False),
    )


@every_case
def test_batch__is_the_mean_of_its_samples(case: Case) -> None:
    if not case.additive:
        return
    inputs = make(case)
    whole = call(build(case).double(), inputs)
    parts = torch.stack([call(build(case).double(), rows(inputs, i, i + 1)) for i in range(4)])
    torch.testing.assert_close(whole, parts.mean(), rtol=1e-9, atol=1e-12)


@every_case
def test_state_dict__loads_into_a_fresh_module(case: Case) -> None:
    """What a resume needs is in the state dict, as tensors only."""
    module = build(case).double()
    call(module, make(case))
    fresh = build(case).double()
    state = module.state_dict()
    assert all(isinstance(value, Tensor) for value in state.values())
    fresh.load_state_dict(state)
    torch.testing.assert_close(call(fresh, make(case, seed=2)), call(module, make(case, seed=2)), rtol=0, atol=0)


def test_cases__have_different_names() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
