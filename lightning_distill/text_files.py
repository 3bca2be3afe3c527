"""Text files that somebody else may have written: ordinary files of a size that is no trouble, or an error."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

LARGEST = 1 << 24  # bytes of what a run writes about its epochs, many times over
LARGEST_CONFIG = 1_000_000
DEEPEST = 100


def read_text(path: Path, most: int = LARGEST, errors: str = "strict") -> str:
    """The text of an ordinary file; a pipe or a device, which could be read for ever, is not opened.

    Args:
        path: The file.
        most: Its length in bytes.
        errors: What to do about bytes that are no text: ``"strict"`` or ``"replace"``.

    Raises:
        ValueError: If it is no such file, longer than ``most`` bytes, or no text.
    """
    if not path.is_file():
        raise ValueError(f"Expected {path} to be an ordinary file, but it is none.")
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"Expected {path} to be at most {most} bytes long, but got {path.stat().st_size}.")
    try:
        return content.decode(errors=errors)
    except UnicodeDecodeError as error:
        raise ValueError(f"Expected {path} to hold text in UTF-8, but got: {error}.") from None


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        ValueError: If it holds none.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"Expected {path} to hold JSON, but got: {error}. Delete it to start over.") from None


def read_config_text(path: Path) -> str:
    """The text of a config: YAML that is no longer than it looks.

    Raises:
        ValueError: If it is no text, no YAML, much larger than a config is, or repeats parts of itself.
    """
    text = read_text(path, LARGEST_CONFIG)
    try:
        if depth(text) > DEEPEST:  # the parser takes the square of the time for each
            raise ValueError(f"it has more than {DEEPEST} brackets within each other")
        # An alias repeats what it names: a few lines of them stand for more than fits in memory. A run writes none.
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise ValueError("it repeats parts of itself by aliases")
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise config_error(path, error) from None
    return text


def depth(text: str) -> int:
    """How many brackets are open at once.

    Example:
        >>> depth("{a: [1, [2]], b: [3]}")
        3
    """
    most = now = 0
    for bracket in re.findall(r"[\[\]{}]", text):
        now += 1 if bracket in "[{" else -1
        most = max(most, now)
    return most


def printable(text: str) -> str:
    """``text`` without what commands a terminal and what cannot be written; lines stay.

    Example:
        >>> printable("a \x1b[31mred name")
        'a �[31mred name'
    """
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def config_error(path: Path, error: Exception) -> ValueError:
    """The error for a file that is no config."""
    first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    return ValueError(f"Expected {path} to be a config that a run wrote, but it cannot be read: {first}.")
