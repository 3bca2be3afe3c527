from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightning_distill.adapters import ConvAdapter, FitNetRegressor, TokenAdapter, build_adapter, split_tokens

JOINED = [
    ("linear", (2, 8), (2, 5)),
    ("auto", (2, 8), (2, 5)),
    ("conv", (2, 8, 6, 4), (2, 5, 6, 4)),
    ("conv", (2, 8, 8, 4), (2, 5, 4, 2)),
    ("conv", (2, 8, 3, 2), (2, 5, 7, 5)),
    ("conv", (2, 8, 9, 2), (2, 5, 4, 6)),
    ("auto", (2, 8, 9, 2), (2, 5, 4, 6)),
    ("conv_bn", (2, 8, 6, 4), (2, 5, 3, 4)),
    ("fitnet", (2, 8, 6, 4), (2, 5, 3, 2)),
    ("fitnet", (2, 8, 3, 2), (2, 5, 6, 4)),
    ("fitnet", (2, 8, 7, 4), (2, 5, 5, 4)),
    ("token", (2, 17, 8), (2, 17, 5)),
    ("token", (2, 17, 8), (2, 10, 5)),
    ("token", (2, 18, 8), (2, 10, 5)),
    ("token", (2, 17, 8), (2, 49, 5)),
    ("auto", (2, 9, 8), (2, 16, 5)),
]


@pytest.mark.parametrize(("kind", "student", "teacher"), JOINED)
def test_build_adapter__joins_and_trains(kind: str, student: tuple[int, ...], teacher: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    adapter = build_adapter(kind, student, teacher)
    assert not any(isinstance(p, nn.UninitializedParameter) for p in adapter.parameters())
    feature = torch.randn(student, requires_grad=True)
    output = adapter(feature)
    assert tuple(output.shape) == teacher
    output.square().sum().backward()
    assert feature.grad is not None
    assert all(p.grad is not None for p in adapter.parameters())


@pytest.mark.parametrize("kind", ["conv", "conv_bn", "fitnet"])
def test_build_adapter__channels_last(kind: str) -> None:
    torch.manual_seed(0)
    adapter = build_adapter(kind, (2, 8, 6, 4), (2, 5, 3, 2)).eval()
    feature = torch.randn(2, 8, 6, 4)
    last = adapter(feature.contiguous(memory_format=torch.channels_last))
    assert torch.allclose(last, adapter(feature), atol=1e-6)


def test_build_adapter__auto_is_nothing_for_equal_shapes() -> None:
    assert isinstance(build_adapter("auto", (2, 8, 6, 4), (7, 8, 6, 4)), nn.Identity)
    assert isinstance(build_adapter("identity", (2, 8), (2, 5)), nn.Identity)


def test_build_adapter__a_module_passes() -> None:
    module = nn.Linear(3, 3)
    assert build_adapter(module, (2, 8), (2, 5)) is module


def test_conv_adapter__order_of_resize_and_projection() -> None:
    torch.manual_seed(0)
    adapter = ConvAdapter(3, 2, resize=(2, 6))
    feature = torch.randn(1, 3, 4, 3)
    projected = adapter.project(feature)
    expected = F.interpolate(F.adaptive_avg_pool2d(projected, (2, 3)), (2, 6), mode="bilinear", align_corners=False)
    assert torch.allclose(adapter(feature), expected, atol=1e-6)


def test_conv_adapter__without_resize_follows_the_input() -> None:
    assert ConvAdapter(3, 2)(torch.zeros(1, 3, 9, 5)).shape == (1, 2, 9, 5)


def test_fitnet__layers_by_ratio() -> None:
    strided, transposed, valid = (
        FitNetRegressor((8, *have), (5, *want))[0]
        for have, want in (((8, 4), (4, 2)), ((4, 2), (8, 4)), ((9, 4), (7, 4)))
    )
    assert isinstance(strided, nn.Conv2d)
    assert strided.stride == (2, 2)
    assert isinstance(transposed, nn.ConvTranspose2d)
    assert valid.kernel_size == (3, 1)


def test_token_adapter__keeps_the_class_token_apart() -> None:
    adapter = TokenAdapter(2, 2, (2, 2), (4, 4), student_prefix=2, teacher_prefix=1)
    with torch.no_grad():
        adapter.project.weight.copy_(torch.eye(2))
        adapter.project.bias.zero_()
    tokens = torch.cat([torch.full((1, 1, 2), 5.0), torch.full((1, 1, 2), 7.0), torch.ones(1, 4, 2)], dim=1)
    output = adapter(tokens)
    assert torch.equal(output[:, 0], torch.full((1, 2), 5.0))
    assert torch.allclose(output[:, 1:], torch.ones(1, 16, 2))


def test_token_adapter__interpolates_rows_and_columns() -> None:
    adapter = TokenAdapter(1, 1, (2, 3), (4, 6))
    with torch.no_grad():
        adapter.project.weight.fill_(1.0)
        adapter.project.bias.zero_()
    grid = torch.arange(6.0).reshape(1, 1, 2, 3)
    expected = F.interpolate(grid, (4, 6), mode="bilinear", align_corners=False).flatten(1).unsqueeze(-1)
    assert torch.allclose(adapter(grid.flatten(2).transpose(1, 2)), expected)


@pytest.mark.parametrize(
    ("count", "size", "expected"),
    [
        (196, None, (0, (14, 14))),
        (198, None, (2, (14, 14))),
        (201, None, (5, (14, 14))),
        (8 * 4 + 1, (256, 128), (1, (8, 4))),
        (7, None, None),
        (0, None, None),
    ],
)
def test_split_tokens__cases(count: int, size, expected) -> None:
    assert split_tokens(count, size) == expected


@pytest.mark.parametrize(
    ("kind", "student", "teacher", "message"),
    [
        ("auto", (2, 8, 4, 4), (2, 5), r"\[B, 8, 4, 4\] and the teacher's \[B, 5\]"),
        ("linear", (2, 8, 4, 4), (2, 5, 4, 4), r"takes \[B, D\] on both sides"),
        ("auto", (2, 8, 4, 4, 4), (2, 5, 4, 4, 4), r"knows \[B, D\]"),
        ("fitnet", (2, 8, 3, 3), (2, 5, 7, 7), r"\[B, 8, 3, 3\].*half as large"),
        ("token", (2, 7, 8), (2, 17, 8), r"\[B, 7, 8\] and the teacher's \[B, 17, 8\].*TokenAdapter"),
        ("token", (2, 9, 8), (2, 17, 8), "1 tokens ahead of its grid and the student 0"),
        ("linaer", (2, 8), (2, 5), "Did you mean 'linear'"),
    ],
)
def test_build_adapter__names_both_shapes(kind: str, student, teacher, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_adapter(kind, student, teacher)


def test_build_adapter__wrong_types() -> None:
    with pytest.raises(TypeError, match=r"a name or an nn\.Module, but got int"):
        build_adapter(3, (2, 8), (2, 5))
    with pytest.raises(ValueError, match="both grids or neither"):
        TokenAdapter(2, 2, student_grid=(2, 2))
    with pytest.raises(ValueError, match="`teacher_prefix` to be at most `student_prefix`"):
        TokenAdapter(2, 2, (2, 2), (4, 4), teacher_prefix=1)


def test_adapter__survives_a_copy() -> None:
    adapter = build_adapter("token", (2, 17, 8), (2, 10, 5))
    feature = torch.randn(2, 17, 8)
    assert torch.equal(copy.deepcopy(adapter)(feature), adapter(feature))
