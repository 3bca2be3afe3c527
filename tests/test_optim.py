"""Which parameter goes into which group, and what an optimizer makes of it."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from lightning_distill.optim import build_optimizer, no_decay_names, parameter_groups


class Net(nn.Module):
    """One of everything: convolution, norm, layer scale, token, and a name list as timm's networks have."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1)
        self.norm = nn.GroupNorm(1, 2)
        self.scale = nn.Parameter(torch.ones(2))
        self.token = nn.Parameter(torch.ones(1, 1, 2))
        self.relative_bias = nn.Parameter(torch.ones(3, 3))
        self.head = nn.Linear(2, 3)

    def no_weight_decay(self) -> set[str]:
        return {"token"}


def model() -> nn.ModuleDict:
    return nn.ModuleDict({"student": Net(), "adapter": nn.Linear(2, 3)})


def names(model: nn.Module, group: dict[str, Any]) -> set[str]:
    own = {id(parameter) for parameter in group["params"]}
    return {name for name, parameter in model.named_parameters() if id(parameter) in own}


SPARED = {"conv.bias", "norm.weight", "norm.bias", "scale", "token", "relative_bias", "head.bias"}


def test_no_decay_names__norms_biases_and_what_the_network_lists() -> None:
    assert no_decay_names(Net(), "norms_and_biases") == SPARED
    assert no_decay_names(model(), "norms_and_biases") == {f"student.{name}" for name in SPARED} | {"adapter.bias"}
    assert no_decay_names(Net(), None) == set()


def test_no_decay_names__norms_with_more_dimensions_and_ignored_names() -> None:
    class Other(Net):
        def no_weight_decay(self) -> set[str]:
            return {"not_there"}

    found = no_decay_names(nn.Sequential(nn.LayerNorm((3, 3)), Other()), "norms_and_biases")
    assert {"0.weight", "0.bias", "1.scale"} <= found
    assert "1.token" not in found
    assert "1.not_there" not in found


def test_no_decay_names__globs() -> None:
    assert no_decay_names(Net(), ["*.bias", "token"]) == {"conv.bias", "norm.bias", "head.bias", "token"}
    with pytest.raises(ValueError, match=r"Expected `no_decay` to hold globs .*'bias\*' fits none of 'scale', 'token'"):
        no_decay_names(Net(), ["bias*"])
    with pytest.raises(ValueError, match="Did you mean 'norms_and_biases'"):
        no_decay_names(Net(), "norm_and_biases")


def test_parameter_groups__one_where_nothing_differs() -> None:
    both = model()
    (group,) = parameter_groups(both)
    assert [id(p) for p in group["params"]] == [id(p) for p in both.parameters()]
    assert "weight_decay" not in group


def test_parameter_groups__four_with_decay_and_rate() -> None:
    both = model()
    groups = {g["name"]: g for g in parameter_groups(both, no_decay="norms_and_biases", adapter_lr_scale=10)}
    assert names(both, groups["student"]) == {"student.conv.weight", "student.head.weight"}
    assert names(both, groups["student_no_decay"]) == {f"student.{name}" for name in SPARED}
    assert names(both, groups["adapters"]) == {"adapter.weight"}
    assert names(both, groups["adapters_no_decay"]) == {"adapter.bias"}
    assert [groups[n]["lr_scale"] for n in groups] == [1, 1, 10, 10]
    assert [groups[n].get("weight_decay") for n in groups] == [None, 0, None, 0]


def test_parameter_groups__frozen_parameters_are_in_none() -> None:
    both = model()
    both["student"].requires_grad_(False)
    groups = parameter_groups(both, no_decay="norms_and_biases", adapter_lr_scale=10)
    assert [group["name"] for group in groups] == ["adapters", "adapters_no_decay"]
    with pytest.raises(ValueError, match="Expected `adapter_lr_scale` to be above 0, but got 0"):
        parameter_groups(both, adapter_lr_scale=0)


def test_build_optimizer__rates_and_decay() -> None:
    groups = parameter_groups(model(), no_decay="norms_and_biases", adapter_lr_scale=10)
    optimizer = build_optimizer(partial(torch.optim.AdamW, lr=0.01, weight_decay=0.5), groups)
    assert [(g["name"], g["lr"], g["weight_decay"]) for g in optimizer.param_groups] == [
        ("student", 0.01, 0.5),
        ("student_no_decay", 0.01, 0.0),
        ("adapters", 0.1, 0.5),
        ("adapters_no_decay", 0.1, 0.0),
    ]
    replaced = build_optimizer(partial(torch.optim.AdamW, lr=0.01), groups, lr=0.2)
    assert [g["lr"] for g in replaced.param_groups] == [0.2, 0.2, 2.0, 2.0]


def test_build_optimizer__a_step_spares_the_biases() -> None:
    both = model()
    before = {name: parameter.detach().clone() for name, parameter in both.named_parameters()}
    groups = parameter_groups(both, no_decay="norms_and_biases")
    optimizer = build_optimizer(partial(torch.optim.SGD, lr=0.1, weight_decay=0.5), groups)
    for parameter in both.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in both.named_parameters():
        factor = 1.0 if name in {f"student.{n}" for n in SPARED} | {"adapter.bias"} else 1 - 0.1 * 0.5
        torch.testing.assert_close(parameter.detach(), before[name] * factor)


def test_build_optimizer__a_factory_that_looks_at_its_parameters_still_works() -> None:
    def factory(parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD([p for p in parameters if p.ndim > 1], lr=0.1)

    optimizer = build_optimizer(factory, parameter_groups(model()), lr=0.3)
    assert [len(g["params"]) for g in optimizer.param_groups] == [5]
    assert optimizer.param_groups[0]["lr"] == 0.3


def test_build_optimizer__without_weight_decay() -> None:
    groups = parameter_groups(model(), no_decay="norms_and_biases")
    with pytest.raises(ValueError, match=r"Expected an optimizer with `weight_decay` .* but Rprop has none"):
        build_optimizer(torch.optim.Rprop, groups)
