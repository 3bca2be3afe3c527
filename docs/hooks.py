"""What the site does with the pages and docstrings of this repository; called by MkDocs and mkdocstrings."""

from __future__ import annotations

import posixpath
import re
from typing import Any

import griffe

LINK = re.compile(r"\[([^\]]*)\]\((\.\./[^)#\s]+)(#[^)\s]*)?\)")
EXAMPLE = re.compile(r"^( *)Example:$", flags=re.MULTILINE)
ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):`~?([\w.]+)`")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Name the file where a page links to one outside of ``docs/``, which is not part of the site."""
    folder = posixpath.dirname(posixpath.join("docs", page.file.src_uri))
    return LINK.sub(lambda match: plain(match, folder), markdown)


def plain(match: re.Match[str], folder: str) -> str:
    """``text (`path`)`` for a link that leaves the site; every other link as it is."""
    path = posixpath.normpath(posixpath.join(folder, match[2]))
    return match[0] if path.startswith("docs/") else f"{match[1]} (`{path}`)"


class HouseStyle(griffe.Extension):
    """Has docstrings read as this repository writes them: the heading ``Example:``, and Sphinx's roles."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            text = EXAMPLE.sub(r"\1Examples:", obj.docstring.value)
            obj.docstring.value = ROLE.sub(lambda match: link(match[1], obj), text)


def link(name: str, obj: griffe.Object) -> str:
    """A name as code, linked where the site has an entry for it."""
    path = name if "." in name else f"{(obj if obj.is_class else obj.parent or obj).path}.{name}"
    return f'<autoref optional identifier="{path}"><code>{name.rpartition(".")[2]}</code></autoref>'
