"""The verdict over seeds and settings as a page, as numbers, and as plots."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lightning_distill.report.drawing import draw
from lightning_distill.report.figures.sweep import heat_map, pareto, varies
from lightning_distill.report.folder import FORMAT_VERSION, ROLES, write_text_atomically
from lightning_distill.report.html import Html, page, section, table, tag
from lightning_distill.report.settings import Setting
from lightning_distill.report.statistics import estimate
from lightning_distill.report.summary import ACCURACY, SELECTED_BY, Summary, estimate_cells


def write_summary(summary: Summary, folder: Path) -> None:
    """Write ``verdict.html``, ``verdict.json`` and the plots into ``folder``."""
    write_text_atomically(folder / "verdict.json", json.dumps(as_plain(summary), indent=2) + "\n")
    drawn = [
        draw(
            folder,
            "pareto",
            "Up and to the left is better; the size of a point is the size of the network.",
            pareto,
            summary.settings,
        )
    ]
    if varies(summary.settings):
        said = "Mean validation accuracy of the student by alpha and temperature; the best is framed."
        drawn.insert(0, draw(folder, "alpha_temperature", said, heat_map, summary.settings))
    parts = [_setting(summary, index) for index in range(len(summary.settings))]
    notes = tag("ul", *(tag("li", note) for note in summary.notes))
    plots = section("Plots", tag("div", *drawn, class_="figures"))
    write_text_atomically(folder / "verdict.html", page("Verdict", tag("h1", "Verdict"), *parts, plots, notes))


def _setting(summary: Summary, index: int) -> Html:
    setting, comparison = summary.settings[index], summary.comparisons[index]
    rows = [
        [tag("span", role, class_=f"role {role}"), *estimate_cells(estimate(values))]
        for role in ROLES
        if (values := setting.values(role, ACCURACY))
    ]
    best = ", best by validation" if index == summary.best and len(summary.settings) > 1 else ""
    header = ["test accuracy", "mean", "deviation", "95 % interval", "runs"]
    said = tag("div", tag("strong", comparison.judgement), f": {comparison.reason}", class_="verdict")
    return section((setting.label or "All runs") + best, said, table(header, rows))


def as_plain(summary: Summary) -> dict[str, Any]:
    """The verdict as plain values."""
    settings = [
        {
            "label": setting.label,
            "runs": [str(run.path) for run in setting.runs],
            "seeds": [run.seed for run in setting.runs],
            "best_by_validation": index == summary.best,
            ACCURACY: _estimates(setting, ACCURACY),
            SELECTED_BY: _estimates(setting, SELECTED_BY),
            **asdict(comparison),
        }
        for index, (setting, comparison) in enumerate(zip(summary.settings, summary.comparisons, strict=True))
    ]
    return {"format_version": FORMAT_VERSION, "settings": settings, "notes": list(summary.notes)}


def _estimates(setting: Setting, name: str) -> dict[str, Any]:
    return {role: asdict(estimate(values)) for role in ROLES if (values := setting.values(role, name))}
