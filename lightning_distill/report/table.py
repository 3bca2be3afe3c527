"""The table at the end of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rich.table import Table

from lightning_distill.report.folder import ROLES, Scalar

MISSING = "–"  # noqa: RUF001 - a dash for "not measured"


def final_table(metrics: Mapping[str, Mapping[str, Scalar]]) -> Table:
    """Teacher, baseline and student side by side.

    Args:
        metrics: What ``metrics.json`` holds; roles and numbers that are missing are left out.
    """
    table = Table(title="On the test split; latency for one sample; agreement with the teacher", title_justify="left")
    table.add_column("")
    columns: list[tuple[str, str, Callable[[float], str]]] = [
        ("accuracy", "test/accuracy", "{:.2%}".format),
        ("loss", "test/student_loss", "{:.4f}".format),
        ("parameters", "parameters", "{:,.0f}".format),
        ("file", "file_bytes", file_size),
        ("CPU latency", "latency_ms", "{:.3f} ms".format),
        ("agreement", "test/teacher_agreement", "{:.2%}".format),
    ]
    for header, _, _ in columns:
        table.add_column(header, justify="right")
    for role in (role for role in ROLES if role in metrics):
        table.add_row(role, *(_cell(metrics[role].get(key), show) for _, key, show in columns))
    return table


def _cell(value: Scalar, show: Callable[[float], str]) -> str:
    return show(value) if isinstance(value, (int, float)) else MISSING


def file_size(size: float) -> str:
    """Bytes with the unit that keeps the number short.

    Example:
        >>> file_size(5900), file_size(102_400_000)
        ('5.9 kB', '102.4 MB')
    """
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
