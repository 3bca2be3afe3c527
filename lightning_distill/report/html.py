"""The few elements that a page is made of. Every text is escaped here; nothing is loaded from anywhere."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files

# Nothing may be fetched or run: a page from an untrusted run cannot do more than show itself.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


class Html(str):
    """Text that is HTML already."""


def tag(name: str, *content: str, **attributes: str) -> Html:
    """An element; ``class_`` stands for ``class``.

    Example:
        >>> tag("p", "1 < 2", class_="muted")
        '<p class="muted">1 &lt; 2</p>'
    """
    given = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"' for key, value in attributes.items())
    return Html(f"<{name}{given}>{join(content)}</{name}>")


def join(parts: Iterable[str]) -> Html:
    """Elements and texts one after another."""
    return Html("".join(part if isinstance(part, Html) else escape(part) for part in parts))


def image(png: bytes, alt: str, class_: str = "pixels") -> Html:
    """An inlined picture."""
    data = base64.b64encode(png).decode()
    return Html(f'<img class="{escape(class_)}" alt="{escape(alt)}" src="data:image/png;base64,{data}">')


def figure(svg: str, caption: str) -> Html:
    """A drawing with what it shows in words, for readers and for screen readers."""
    labelled = svg.replace("<svg ", f'<svg role="img" aria-label="{escape(caption)}" ', 1)
    return tag("figure", Html(labelled), tag("figcaption", caption))


def table(header: Sequence[str], rows: Iterable[Sequence[str] | str]) -> Html:
    """A table that scrolls in its own box; a row that is a text is a heading within the table."""
    head = tag("tr", *(tag("th", cell, scope="col") for cell in header))
    body = [
        tag("tr", tag("th", row, colspan=str(len(header))), class_="group")
        if isinstance(row, str)
        else tag("tr", *(cell if cell.startswith("<td") else tag("td", cell) for cell in row))
        for row in rows
    ]
    return tag("div", tag("table", tag("thead", head), tag("tbody", *body)), class_="scroll", tabindex="0")


def section(title: str, *content: str) -> Html:
    """A part of the page."""
    return tag("section", tag("h2", title), *content)


def page(title: str, *content: str) -> str:
    """A whole page."""
    style = files("lightning_distill.report").joinpath("style.css").read_text()
    head = join(
        [
            Html('<meta charset="utf-8">'),
            Html(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
            Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            Html('<link rel="icon" href="data:,">'),
            tag("title", title),
            tag("style", Html(style)),
        ]
    )
    body = tag("body", tag("main", *content))
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>{body}</html>\n'
