"""Figures into the page and beside it, one by one: what goes wrong with one is said in its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning_distill.files import replacing
from lightning_distill.report.figures.style import as_png, as_svg, laid_out
from lightning_distill.report.html import Html, figure, tag


def draw(folder: Path, name: str, caption: str, make: Callable[..., Any], *arguments: Any) -> Html:
    """A figure for the page, also written as ``<folder>/<name>.png``."""
    try:
        drawn = laid_out(make(*arguments))
        with replacing(folder / f"{name}.png") as part:
            part.write_bytes(as_png(drawn))
        return figure(as_svg(drawn, name), caption)
    except Exception as error:  # one figure must not cost the others
        return tag("figure", tag("figcaption", f"{caption} This could not be drawn: {type(error).__name__}: {error}"))
