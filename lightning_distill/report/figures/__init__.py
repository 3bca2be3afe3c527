"""The figures of a report, one idea per file. Imports matplotlib: imported only where a report is drawn."""

from lightning_distill.report.figures.calibration import confidence_figure, reliability_figure
from lightning_distill.report.figures.classes import agreement_figure, confusion_figure
from lightning_distill.report.figures.curves import curve_figures
from lightning_distill.report.figures.softened import softened_figure

__all__ = [
    "agreement_figure",
    "confidence_figure",
    "confusion_figure",
    "curve_figures",
    "reliability_figure",
    "softened_figure",
]
