"""The pages that people read, README and ``docs/``: what they tell to run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser

from tests.configs import ROOT

README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
NAMES = [page.name for page in PAGES]
FENCE = re.compile(r"^( *)```(\w+)[^\n]*\n(.*?)^\1```", flags=re.DOTALL | re.MULTILINE)
TRAIN = ("python train.py", "lightning-distill-train")
# Of configs and modules that the reader has, and we have not.
OWN = ("--config-dir", "=my.")
# What a reader puts in; any other placeholder would not be a command that can be checked.
PLACEHOLDERS = {"<run folder>": "run", "<folder>": "folder", "<a>": "0.1", "<b>": "0.9", "<w>": "1.0", "<m>": "at"}


def blocks(page: Path, *languages: str) -> list[str]:
    """The fenced blocks of these languages, in their order."""
    return [text for _, language, text in FENCE.findall(page.read_text()) if language in languages]


def commands(page: Path) -> Iterator[tuple[str, ...]]:
    """The overrides of every command that trains; of a sweep, those of its first run."""
    for block in blocks(page, "bash", "console", "text", "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            start = next((start for start in TRAIN if line.strip().removeprefix("$ ").startswith(start)), None)
            if start is not None and not any(own in line for own in OWN):
                yield tuple(overrides(line.partition(start)[2]))


def overrides(text: str) -> Iterator[str]:
    """What Hydra composes of a command line."""
    for placeholder, value in PLACEHOLDERS.items():
        text = text.replace(placeholder, value)
    words = iter(shlex.split(text, comments=True))
    for word in words:
        if word in ("--cfg", "--package"):
            next(words)
        elif not word.startswith("-"):
            override = OverridesParser.create().parse_override(word)
            swept = override.is_sweep_override()
            yield f"{override.get_key_element()}={next(override.sweep_string_iterator())}" if swept else word


def links(page: Path) -> list[str]:
    """The relative links, without their anchors."""
    return re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", re.sub(FENCE, "", page.read_text()))
