"""What the site does with the pages and docstrings of this repository; called by MkDocs and mkdocstrings."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

import griffe

INCLUDE = re.compile(r'--8<-- "(?P<path>[^"]+)"')
LINK = re.compile(r"(?P<text>\[[^\]]*\])\((?!https?:|mailto:|#)(?P<path>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")
EXAMPLE = re.compile(r"^( *)Example:$", flags=re.MULTILINE)
ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):`~?([\w.]+)`")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Put in the file that a page stands for, and name files outside of ``docs/``, which are not part of the site."""
    here = source = posixpath.dirname(posixpath.join("docs", page.file.src_uri))
    included = INCLUDE.fullmatch(markdown.strip())
    if included is not None:
        markdown, source = Path(included["path"]).read_text(), posixpath.dirname(included["path"])
    return LINK.sub(lambda match: placed(match, source, here), markdown)


def placed(match: re.Match[str], source: str, here: str) -> str:
    """A link of a file in ``source`` for a page in ``here``; ``text (`path`)`` where it leaves the site."""
    path = posixpath.normpath(posixpath.join(source, match["path"]))
    if not path.startswith("docs/"):
        return f"{match['text'][1:-1]} (`{path}`)"
    return f"{match['text']}({posixpath.relpath(path, here)}{match['anchor'] or ''})"


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
