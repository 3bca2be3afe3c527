"""Teacher, baseline and student side by side, in numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lightning_distill.report.contents import Contents
from lightning_distill.report.html import Html, table, tag
from lightning_distill.report.latency import Latency
from lightning_distill.report.quality import Quality
from lightning_distill.report.table import MISSING, file_size

Show = Callable[[float], str]
PERCENT: Show = "{:.2%}".format


def comparison_table(contents: Contents) -> Html:
    """One row per quantity, one column per role."""
    header = ["", *(tag("span", role, class_=f"role {role}") for role in contents.roles)]
    return table(header, _rows(contents))


def _rows(contents: Contents) -> Iterator[list[str] | str]:
    yield "On the test split"
    yield _metric(contents, "accuracy", "test/accuracy", PERCENT)
    yield from _quality_rows(contents)
    yield from _other_metrics(contents)
    yield "Size and speed"
    yield _metric(contents, "parameters", "parameters", "{:,.0f}".format)
    yield ["operations per sample", *(_count(contents.flops.get(role)) for role in contents.roles)]
    yield _metric(contents, "file", "file_bytes", file_size)
    for (device, size), found in contents.latencies.items():
        name = f"{'GPU' if device == 'cuda' else 'CPU'}, batch of {size}"
        yield [name, *(_latency(found.get(role)) for role in contents.roles)]
    yield "Training"
    yield _metric(contents, "time", "train_seconds", duration)
    yield _metric(contents, "time per epoch", "epoch_seconds", duration)
    yield _metric(contents, "epochs", "epochs", "{:.0f}".format)
    yield _metric(contents, "best epoch, from 0", "best_epoch", "{:.0f}".format)
    yield _metric(contents, "validation accuracy, best", "val/accuracy", PERCENT)
    yield ["validation accuracy, last", *(_last(contents, role) for role in contents.roles)]


def _metric(contents: Contents, name: str, key: str, show: Show) -> list[str]:
    return [name, *(_shown(contents.number(role, key), show) for role in contents.roles)]


def _quality_rows(contents: Contents) -> Iterator[list[str]]:
    if not contents.quality:
        return
    rows: list[tuple[str, str, Show]] = [
        ("negative log likelihood", "nll", "{:.4f}".format),
        ("expected calibration error", "ece", "{:.4f}".format),
        ("agreement with the teacher", "agreement", PERCENT),
        ("KL from the teacher, nats", "teacher_kl", "{:.4f}".format),
    ]
    for name, attribute, show in rows:
        yield [name, *(_shown(getattr(contents.quality.get(r), attribute, None), show) for r in contents.roles)]


def _other_metrics(contents: Contents) -> Iterator[list[str]]:
    """Whatever else was measured on the test split: a task's own metrics, and the heads of two-headed students."""
    known = {"test/accuracy", *(["test/teacher_agreement"] if contents.quality else [])}
    names = {name for role in contents.roles for name in contents.metrics[role] if name.startswith("test/")} - known
    if all(_same(contents.number(r, "test/student_loss"), contents.quality.get(r)) for r in contents.roles):
        names -= {"test/student_loss"}  # the negative log likelihood once more
    for name in sorted(names):
        yield _metric(contents, name.removeprefix("test/").replace("_", " "), name, "{:.4f}".format)


def _same(loss: float | None, quality: Quality | None) -> bool:
    return loss is not None and quality is not None and abs(loss - quality.nll) < 1e-4


def _shown(value: float | None, show: Show) -> str:
    return MISSING if value is None else show(value)


def _count(value: int | None) -> str:
    if value is None:
        return MISSING
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.2f} {unit}"
    return str(value)


def _latency(found: Latency | None) -> str:
    if found is None:
        return MISSING
    return tag("td", f"{found.median_ms:.3f} ms", tag("small", f"{found.low_ms:.3f} to {found.high_ms:.3f}"))


def _last(contents: Contents, role: str) -> str:
    rows = contents.rows.get(role, ())
    value = rows[-1].get("val/accuracy") if rows else None
    return PERCENT(float(value)) if value else MISSING


def duration(seconds: float) -> str:
    """Seconds in the unit that keeps the number short.

    Example:
        >>> duration(0.0312), duration(75.0), duration(7300.0)
        ('31.2 ms', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 1:
        return f"{1000 * seconds:.1f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def cost_sentence(contents: Contents) -> str:
    """What distillation cost: the teacher's training, and the student's epochs against the baseline's."""
    teacher = contents.number("teacher", "train_seconds")
    student, alone = (contents.number(role, "epoch_seconds") for role in ("student", "baseline"))
    parts = []
    if teacher is not None:
        kept = " in an earlier run" if "teacher" not in contents.rows else ""
        parts.append(f"Training the teacher took {duration(teacher)}{kept}.")
    if student is not None and alone:
        parts.append(
            f"An epoch of distillation takes {duration(student)}, one of the baseline {duration(alone)}: "
            f"{student / alone:.2f} times as long, as medians, validation included."
        )
    return " ".join(parts)


def epochs_sentence(contents: Contents) -> str:
    """What the numbers are of: the best epoch by validation, not the last; and whether training was stopped early."""
    said = (
        "All test numbers are of the epoch with the best validation score, chosen before the test split was looked at; "
        "the last epoch was not tested."
    )
    epochs = {role: contents.number(role, "epochs") for role in ("baseline", "student")}
    counts = {count for count in epochs.values() if count is not None}
    if len(counts) > 1:
        shown = " and ".join(f"the {role} {count:.0f}" for role, count in epochs.items() if count is not None)
        said += f" The budgets were not equal: {shown} epochs, as early stopping or an interruption left it."
    return said
