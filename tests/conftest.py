"""Options of the test run, and how many faults it has tried."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

FAULTS = "faults tried: "


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kill-points", type=int, default=20, help="how often tests/faults kills a run (default: 20)")


@pytest.fixture
def tried(record_property: Callable[[str, object], None]) -> Callable[[str, int], None]:
    """``tried("kills", 20)`` counts them in the summary at the end, also with several processes."""
    return lambda kind, count: record_property(f"{FAULTS}{kind}", count)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The faults of all tests by kind, and whether anything came of them."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    counts, failed = Counter[str](), 0
    for report in reports:
        found = {name.removeprefix(FAULTS): n for name, n in report.user_properties if name.startswith(FAULTS)}
        if report.when == "call":
            counts.update(found)
            failed += report.failed and report.nodeid.startswith("tests/faults/")
    if counts:
        said = ", ".join(f"{count:,} {kind}" for kind, count in sorted(counts.items()))
        outcome = f"{failed} of these tests failed" if failed else "nothing was lost"
        terminalreporter.write_line(f"{FAULTS}{said}; {outcome}")
