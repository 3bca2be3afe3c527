"""The last stage: measure all networks side by side, say it, and write the page and the deployable student."""

from __future__ import annotations

from lightning_distill.distillers import BaseDistiller
from lightning_distill.pipeline.plan import Plan
from lightning_distill.report import final_table, median_latency_ms, write_report
from lightning_distill.report.console import is_main_process, say
from lightning_distill.report.folder import RunFolder, Scalar
from lightning_distill.report.predictions import read_predictions
from lightning_distill.report.quality import measure_quality
from lightning_distill.report.verdict import gain_of, verdict_of


def report(plan: Plan, trained: dict[str, BaseDistiller]) -> float | None:
    """Add what needs all networks to ``metrics.json``, and return the student's best ``val/accuracy``."""
    student = trained["student"]
    if not is_main_process():
        return None
    _measure(plan, trained)
    metrics = plan.folder.read()
    say(final_table(metrics))
    say(verdict_of(metrics))
    if plan.export is not None:
        student.cpu().save(plan.folder.path / plan.export)
    plan.folder.write("run", {"finished": True})
    if plan.report:
        _draw(plan, trained)
    say(f"Everything is in {plan.folder.path}")
    best = metrics["student"].get("val/accuracy")
    return float(best) if isinstance(best, (int, float)) else None


def _draw(plan: Plan, trained: dict[str, BaseDistiller]) -> None:
    """The page comes last, and whatever goes wrong with it takes nothing else along."""
    networks = {role: distiller.deployable() for role, distiller in trained.items()}
    try:
        write_report(plan.folder, networks, trained["student"].example_input, plan.stage.data)
    except Exception as error:  # anything: a run of hours is finished, and only its page is missing
        say(f"report: it could not be drawn ({type(error).__name__}: {error}). Everything else is saved.")


def _measure(plan: Plan, trained: dict[str, BaseDistiller]) -> None:
    networks = {role: distiller.deployable().cpu() for role, distiller in trained.items()}
    latencies = median_latency_ms(networks, trained["student"].example_input)
    metrics, quality = plan.folder.read(), _quality(plan.folder)
    for role, latency in latencies.items():
        plan.folder.write(role, {**metrics[role], **quality.get(role, {}), "latency_ms": round(latency, 6)})
    plan.folder.write("run", {**plan.facts, **gain_of(metrics)})


def _quality(folder: RunFolder) -> dict[str, dict[str, Scalar]]:
    """Calibration and distance from the teacher by role, of tasks whose answers were kept: single-label ones."""
    predictions = read_predictions(folder)
    found: dict[str, dict[str, Scalar]] = {}
    for role, own in predictions.items():
        quality = measure_quality(own, None if role == "teacher" else predictions.get("teacher"))
        found[role] = {"test/ece": quality.ece}
        if quality.teacher_kl is not None:
            found[role]["test/teacher_kl"] = quality.teacher_kl
    return found
