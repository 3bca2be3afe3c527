"""BatchNorm as part of the convolution or linear layer before it: in eval mode both are affine."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

# Exactly these: a subclass may compute something else from its weight before it is used.
LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
# timm's BatchNorm that brings its activation along: what is left of it, by attribute.
NORM_WITH_REST = {"BatchNormAct2d": ("drop", "act")}


class _Tracer(fx.Tracer):
    """Keeps every BatchNorm in one piece, whatever subclass it is."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, _BatchNorm) or super().is_leaf_module(m, module_qualified_name)


def foldable(model: nn.Module) -> list[tuple[str, str]]:
    """Module paths of each linear layer or convolution whose output goes into a BatchNorm and nowhere else.

    Raises:
        Exception: Whatever ``torch.fx`` raises for a network that it cannot follow.

    Example:
        >>> foldable(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4)).eval())
        [('0', '1')]
    """
    if not any(isinstance(module, _BatchNorm) for module in model.modules()):
        return []
    nodes = [node for node in _Tracer().trace(model).nodes if node.op == "call_module"]
    modules = dict(model.named_modules(remove_duplicate=False))
    calls = Counter(id(modules[str(node.target)]) for node in nodes)
    pairs = []
    for node in nodes:
        before = node.args[0] if len(node.args) == 1 and not node.kwargs else None
        if not isinstance(before, fx.Node) or before not in nodes or len(before.users) > 1:
            continue
        layer, norm = modules[str(before.target)], modules[str(node.target)]
        if _fits(layer, norm) and calls[id(layer)] == calls[id(norm)] == 1:
            pairs.append((str(before.target), str(node.target)))
    return pairs


def folded(model: nn.Module, pairs: Sequence[tuple[str, str]]) -> nn.Module:
    """A copy of ``model`` without the BatchNorms of ``pairs``; it shares every tensor that is the same in both.

    The copy runs the network's own code: only modules are exchanged.
    """
    clone = copy_with(model, lambda owner, tensor: tensor)
    for layer_path, norm_path in pairs:
        layer, norm = clone.get_submodule(layer_path), clone.get_submodule(norm_path)
        weight, bias = _joined(layer, norm)
        layer.weight = nn.Parameter(weight, requires_grad=False)
        layer.bias = nn.Parameter(bias, requires_grad=False)
        clone.set_submodule(norm_path, _rest(norm))
    return clone


def copy_with(model: nn.Module, convert: Callable[[nn.Module, Tensor], Tensor]) -> nn.Module:
    """A copy of ``model`` whose parameters and buffers are ``convert(module that owns it, tensor)``.

    What ``convert`` returns as it is, is shared by both.

    Example:
        >>> model = nn.Linear(2, 2)
        >>> clone = copy_with(model, lambda owner, tensor: tensor.double() if tensor.dim() == 1 else tensor)
        >>> clone.weight is model.weight, clone.bias.dtype
        (True, torch.float64)
    """
    memo: dict[int, object] = {}
    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for tensor in tensors.values():
                if tensor is not None:
                    memo[id(tensor)] = _converted(module, tensor, convert)
    return copy.deepcopy(model, memo)


def _converted(owner: nn.Module, tensor: Tensor, convert: Callable[[nn.Module, Tensor], Tensor]) -> Tensor:
    with torch.no_grad():
        result = convert(owner, tensor)
    if result is tensor or not isinstance(tensor, nn.Parameter):
        return result
    return nn.Parameter(result.detach(), requires_grad=False)


def _fits(layer: nn.Module, norm: nn.Module) -> bool:
    if type(layer) not in LINEAR or not isinstance(norm, _BatchNorm) or norm.training:
        return False
    return norm.running_mean is not None and (type(norm) in NORMS or type(norm).__name__ in NORM_WITH_REST)


def _joined(layer: Any, norm: Any) -> tuple[Tensor, Tensor]:
    """Weight and bias of the two as one layer; computed in float64, so that each is rounded once."""
    mean, variance = _exact(norm.running_mean), _exact(norm.running_var)
    zeros, ones = torch.zeros_like(mean), torch.ones_like(mean)
    scale = _exact(norm.weight, ones) * (variance + norm.eps).rsqrt()
    bias = (_exact(layer.bias, zeros) - mean) * scale + _exact(norm.bias, zeros)
    weight = _exact(layer.weight)
    weight = weight * scale.view(-1, *[1] * (weight.dim() - 1))
    like: Tensor = layer.weight
    return weight.to(like.device, like.dtype), bias.to(like.device, like.dtype)


def _exact(tensor: Tensor | None, default: Tensor | None = None) -> Tensor:
    """In float64, on the CPU: not every device has it."""
    found = default if tensor is None else tensor
    assert found is not None
    return found.detach().cpu().double()


def _rest(norm: nn.Module) -> nn.Module:
    names = NORM_WITH_REST.get(type(norm).__name__, ())
    return nn.Sequential(*(getattr(norm, name) for name in names)) if names else nn.Identity()
