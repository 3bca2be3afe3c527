"""Which entries of a file are a network's, under whatever names other programs put before them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

# What programs put before the names, best first where several would do.
PREFIXES = ("student.", "model.", "module.", "_orig_mod.")
SHOWN = 3
Weights = Mapping[str, Tensor]


def fit_names(weights: Weights, wanted: Weights, submodule: str | None = None) -> dict[str, Tensor]:
    """``weights`` under the names of ``wanted``: without the prefix that a program put before them.

    A checkpoint may hold several networks (a LightningModule with ``self.encoder`` and ``self.head``); the one whose
    names and shapes fit is taken. A network may also be wrapped on this side (``torch.compile``): then its prefix is
    put before the file's names.

    Args:
        weights: Every tensor of the file by its dotted name.
        wanted: The network's state dict.
        submodule: Path of the network inside the file; found if not given.

    Raises:
        ValueError: If ``submodule`` is not in the file, or several networks in it fit equally well.

    Example:
        >>> names = {"net.weight": torch.ones(1), "ema.weight": torch.zeros(1)}
        >>> fit_names(names, {"weight": torch.ones(1)}, submodule="ema")
        {'weight': tensor([0.])}
    """
    if submodule is not None:
        return fit_names(_below(weights, submodule), wanted)
    found = {prefix: _stripped(weights, prefix) for prefix in _prefixes(weights, wanted)}
    wrapped = {f"{name.partition('.')[0]}." for name in wanted}
    if len(wrapped) == 1 and (prefix := next(iter(wrapped))) not in wanted:
        found[f"+{prefix}"] = {f"{prefix}{name}": tensor for name, tensor in weights.items()}
    best = max(_score(candidate, wanted) for candidate in found.values())
    equal = [prefix for prefix, candidate in found.items() if _score(candidate, wanted) == best]
    complete = best[0] == len(wanted)
    if len(equal) > 1 and complete and not _known(equal) and _differ([found[prefix] for prefix in equal]):
        names = ", ".join(repr(prefix.rstrip(".")) for prefix in sorted(equal))
        raise ValueError(
            f"Expected one network in the file to fit, but {len(equal)} do: {names}. Name one as `submodule`."
        )
    return found[next((prefix for prefix in PREFIXES if prefix in equal), equal[0])]


def _prefixes(weights: Weights, wanted: Weights) -> list[str]:
    """Everything that stands before a wanted name in the file, nothing at first."""
    some = list(wanted)[:SHOWN]
    before = {name[: -len(want)] for name in weights for want in some if name.endswith(f".{want}")}
    return ["", *sorted(before, key=lambda prefix: (prefix.count("."), prefix))]


def _score(candidate: Weights, wanted: Weights) -> tuple[int, int, int]:
    """How many tensors fit, how many names do, and how few are left over."""
    shared = candidate.keys() & wanted.keys()
    fitting = sum(candidate[name].shape == wanted[name].shape for name in shared)
    return fitting, len(shared), -len(candidate.keys() - wanted.keys())


def _known(prefixes: list[str]) -> bool:
    """Whether one of them is what is meant; not where a checkpoint holds a teacher of the same shape, too."""
    return any(prefix in PREFIXES or prefix == "" for prefix in prefixes) and "teacher." not in prefixes


def _differ(candidates: list[dict[str, Tensor]]) -> bool:
    first, *others = candidates
    return any(not torch.equal(other[name], first[name]) for other in others for name in first if name in other)


def _stripped(weights: Weights, prefix: str) -> dict[str, Tensor]:
    """The entries under ``prefix`` without it; others, such as a metric's state in a checkpoint, are dropped."""
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}


def _below(weights: Weights, submodule: str) -> dict[str, Tensor]:
    """The entries of one network, whose path may have been shortened at its start."""
    prefixes = {name[: at + len(submodule) + 1] for name in weights if (at := f".{name}".find(f".{submodule}.")) >= 0}
    if not prefixes:
        tops = sorted({name.rpartition(".")[0].partition(".")[0] for name in weights} - {""})
        raise ValueError(
            f"Expected `submodule` to be the path of a network in the file, but got {submodule!r}. At the top it "
            f"holds {', '.join(tops[:8]) or 'no networks'}."
        )
    return _stripped(weights, min(prefixes, key=len))


def misfits(weights: Weights, wanted: Weights) -> list[str]:
    """What keeps ``weights`` from fitting ``wanted``, the first few of each kind; empty if they fit.

    Example:
        >>> misfits({"a": torch.ones(2), "b": torch.ones(1)}, {"a": torch.ones(3)})
        ['1 is not needed (b)', '1 has another shape (a: [2] in the file, [3] in the network)']
    """
    shapes = [
        f"{name}: {list(weights[name].shape)} in the file, {list(tensor.shape)} in the network"
        for name, tensor in wanted.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    types = [
        f"{name}: {_kind(weights[name])} in the file, {_kind(tensor)} in the network"
        for name, tensor in wanted.items()
        if name in weights and weights[name].shape == tensor.shape and not _holds(tensor, weights[name])
    ]
    found = (
        ("missing", [name for name in wanted if name not in weights]),
        ("not needed", [name for name in weights if name not in wanted]),
        ("another shape", shapes),
        ("another type", types),
    )
    return [_count(kind, names) for kind, names in found if names]


def _holds(own: Tensor, found: Tensor) -> bool:
    """Whether a network's tensor can take a file's values as they are: numbers of 16 bits and more for numbers."""
    if found.layout is not torch.strided or found.is_quantized or found.is_meta:
        return False
    if own.is_complex() or found.is_complex():
        return own.is_complex() and found.is_complex()
    if own.is_floating_point() != found.is_floating_point():
        return found.ndim == 0  # a counter, as BatchNorm's, which averaging makes a fraction
    return not found.is_floating_point() or found.dtype == own.dtype or found.itemsize > 1  # 8 bits need a scale


def _kind(tensor: Tensor) -> str:
    layout = "" if tensor.layout is torch.strided else f", {tensor.layout}"
    return f"{tensor.dtype}{layout}{', without values' if tensor.is_meta else ''}"


def not_finite(weights: Weights, names: Iterable[str]) -> list[str]:
    """Which of ``names`` hold NaN or infinity in ``weights``.

    Example:
        >>> not_finite({"a": torch.tensor([1.0, float("nan")]), "b": torch.ones(1)}, ["a", "b"])
        ['a']
    """
    return [name for name in names if name in weights and not bool(weights[name].isfinite().all())]


def other_classes(weights: Weights, wanted: Weights) -> dict[str, tuple[int, int]]:
    """The classifier's entries, if it is made for another number of classes and all else fits: (file's, network's).

    Example:
        >>> other_classes({"fc.bias": torch.ones(9)}, {"fc.bias": torch.ones(2)})
        {'fc.bias': (9, 2)}
    """
    if weights.keys() != wanted.keys():
        return {}
    differing = {name: weights[name].shape for name in wanted if weights[name].shape != wanted[name].shape}
    pairs = {name: (shape[0], wanted[name].shape[0]) for name, shape in differing.items() if len(shape) > 0}
    rest_fits = all(shape[1:] == wanted[name].shape[1:] for name, shape in differing.items())
    return pairs if rest_fits and len(set(pairs.values())) == 1 else {}


def _count(kind: str, names: list[str]) -> str:
    verb = ("has" if len(names) == 1 else "have") if kind.startswith("another") else "is" if len(names) == 1 else "are"
    more = ", ..." if len(names) > SHOWN else ""
    return f"{len(names)} {verb} {kind} ({', '.join(names[:SHOWN])}{more})"
