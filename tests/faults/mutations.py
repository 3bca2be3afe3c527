"""Bytes that are not what they were, drawn by Hypothesis: of a failure, the smallest change that shows it."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

Edit = tuple[float, int, bytes]  # where, as a share of the content; bytes that are taken out there; bytes put in


def edits() -> st.SearchStrategy[tuple[list[Edit], float]]:
    """Up to eight changes (some bytes others, more or fewer), and what share of the result is left in the end."""
    edit = st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 40), st.binary(max_size=40))
    left = st.one_of(st.just(1.0), st.just(1.0), st.floats(0, 1, exclude_max=True))
    return st.tuples(st.lists(edit, max_size=8), left)


def mutated(content: bytes, change: tuple[list[Edit], float]) -> bytes:
    """The content after the change.

    Example:
        >>> mutated(b"abcdef", ([(0.5, 1, b"-")], 1.0)), mutated(b"abcdef", ([], 0.5))
        (b'abc-ef', b'abc')
    """
    changed = bytearray(content)
    for share, taken, put in change[0]:
        at = int(share * len(changed))
        changed[at : at + taken] = put
    return bytes(changed[: int(change[1] * len(changed))] if change[1] < 1 else changed)


def examples(count: int) -> Any:
    """So many, the same ones in every run, however long each takes."""
    return settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
