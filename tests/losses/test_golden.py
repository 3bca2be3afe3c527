"""Each reference value of a published implementation: reproduced, or a documented deviation.

A family registers itself in ``golden_<family>.py``:

* ``HANDLERS``: method name -> handler (see ``golden.py``).
* ``DEVIATIONS``: entry id -> why the published value is not reproduced.
* ``FP32_TOLERANCE`` (optional): entry id -> relative tolerance in float32, where the formula itself enlarges rounding.
* ``IGNORED_RESULTS`` (optional): entry id -> {result name, or its beginning and ``*``: why it is not compared}.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

from tests.losses.cases import FAMILIES, load_family
from tests.losses.golden import Entry, Handler, entry_by_id, expected_results, load_arrays, load_entries

TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-5}
# Where the true value is 0: what rounding leaves of a sum of values of size one.
FLOOR = {torch.float64: 1e-14, torch.float32: 1e-7}

FAMILY_MODULES = [module for family in FAMILIES if (module := load_family("golden", family)) is not None]


def gather(name: str) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for module in FAMILY_MODULES:
        merged.update(getattr(module, name, {}))
    return merged


HANDLERS: dict[str, Handler] = gather("HANDLERS")
DEVIATIONS: dict[str, str] = gather("DEVIATIONS")
IGNORED: dict[str, dict[str, str]] = gather("IGNORED_RESULTS")
FP32_TOLERANCE: dict[str, float] = gather("FP32_TOLERANCE")
IDS = [entry["id"] for entry in load_entries()]


def is_ignored(entry: Entry, result: str) -> bool:
    patterns = IGNORED.get(entry["id"], {})
    return any(result == p or (p.endswith("*") and result.startswith(p[:-1])) for p in patterns)


@pytest.mark.parametrize("entry_id", [i for i in IDS if i not in DEVIATIONS])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["fp64", "fp32"])
def test_golden__passes(entry_id: str, dtype: torch.dtype) -> None:
    entry = entry_by_id(entry_id)
    assert entry["method"] in HANDLERS, f"no handler for {entry['method']!r}: reproduce it or document the deviation"
    results = HANDLERS[entry["method"]](entry, load_arrays(), dtype)
    tolerance = FP32_TOLERANCE.get(entry_id, TOLERANCE[dtype]) if dtype == torch.float32 else TOLERANCE[dtype]
    for name, expected in expected_results(entry, load_arrays()).items():
        if is_ignored(entry, name):
            continue
        assert name in results, f"the handler returns no {name!r}"
        assert results[name].dtype == dtype
        actual = results[name].double().reshape(expected.shape)
        bound = tolerance * float(expected.abs().max()) + FLOOR[dtype]
        worst = float((actual - expected).abs().max())
        assert worst <= bound, f"{name}: off by {worst:.3g}, allowed {bound:.3g}"


@pytest.mark.parametrize("entry_id", [i for i in IDS if i in DEVIATIONS])
def test_golden__documented_deviation(entry_id: str) -> None:
    """The reason is written down, and the published value really is not what the public module gives."""
    entry = entry_by_id(entry_id)
    assert len(DEVIATIONS[entry_id]) > 20
    if entry["undefined"] or entry["method"] not in HANDLERS:
        return
    results = HANDLERS[entry["method"]](entry, load_arrays(), torch.float64)
    expected = expected_results(entry, load_arrays())
    same = all(
        torch.allclose(results[name].double().reshape(value.shape), value, rtol=1e-8, atol=1e-12)
        for name, value in expected.items()
        if name in results and not is_ignored(entry, name)
    )
    assert not same, "the value is reproduced: take it off the list of deviations"


def test_golden__lists_name_real_entries() -> None:
    methods = {entry["method"] for entry in load_entries()}
    assert set(DEVIATIONS) <= set(IDS)
    assert set(IGNORED) <= set(IDS)
    assert set(HANDLERS) <= methods
    assert all(len(reason) > 10 for reasons in IGNORED.values() for reason in reasons.values())


def test_golden__no_method_is_claimed_twice() -> None:
    claims = Counter(method for module in FAMILY_MODULES for method in module.HANDLERS)
    assert not [method for method, count in claims.items() if count > 1]


def test_golden__every_method_has_a_handler() -> None:
    assert {entry["method"] for entry in load_entries()} == set(HANDLERS)
