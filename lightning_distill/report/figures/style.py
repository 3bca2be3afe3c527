"""How all figures look: one colour per role, and a size that is readable on a phone."""

from __future__ import annotations

import io
import re

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's colours, which people who see colours differently can tell apart.
ROLE_COLOURS = {"teacher": "#0072b2", "baseline": "#d55e00", "student": "#009e73"}
TEXT, LINES, SURFACE = "#1b1f24", "#c9ced6", "#fefefe"
# In the page, these follow the reader's light or dark theme.
VARIABLES = {TEXT: "text", LINES: "lines", SURFACE: "surface"} | {c: role for role, c in ROLE_COLOURS.items()}
WIDTH, HEIGHT = 5.0, 3.3  # inches: at 10 points, text stays readable where the page is 360 pixels wide


def new_axes(title: str, xlabel: str = "", ylabel: str = "", height: float = HEIGHT) -> tuple[Figure, Axes]:
    """An empty figure with one pair of axes."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, color=TEXT, fontsize=11, loc="left", fontweight="bold")
    axes.set_xlabel(xlabel, color=TEXT)
    axes.set_ylabel(ylabel, color=TEXT)
    axes.tick_params(colors=TEXT, color=LINES, which="both")
    axes.patch.set_visible(False)
    axes.grid(color=LINES, linewidth=0.6, alpha=0.6)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(LINES)
    return figure, axes


def add_legend(figure: Figure, columns: int = 3) -> None:
    """A legend below the axes, where it hides nothing."""
    figure.legend(frameon=False, labelcolor=TEXT, fontsize=9, ncols=columns, loc="outside lower center")


def short_name(name: str, most: int = 14) -> str:
    """A class name that leaves room for the figure.

    Example:
        >>> short_name("Staffordshire bullterrier"), short_name("7")
        ('Staffordshire…', '7')
    """
    return name if len(name) <= most else f"{name[: most - 1]}…"


def laid_out(figure: Figure) -> Figure:
    """The figure with everything in its place, found once and not again for every file."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


def as_png(figure: Figure) -> bytes:
    """The figure on white."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=150, facecolor="white", metadata={"Software": None})
    return file.getvalue()


def as_svg(figure: Figure, name: str) -> str:
    """The figure as an ``<svg>`` element, in the page's colours; ``name`` keeps its ids apart from other figures'."""
    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(
            file, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
        )
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)  # of the whole page, it would be
    svg = re.sub(r'(<svg [^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg [^>]*?) height="[^"]*"', r"\1", svg, count=1)
    for part in ("figure", "patch", "axes", "line2d", "text", "matplotlib.axis", "xtick", "ytick", "legend"):
        svg = re.sub(rf' id="{re.escape(part)}_\d+"', "", svg)  # the same in every figure
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var(--{variable})")
    return svg
