"""Write what was measured: a JSON file, and a table between two marks of ``benchmarks/README.md``."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import torch

FOLDER = Path(__file__).parent


def machine() -> dict[str, Any]:
    """What the numbers depend on."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{platform.machine()} CPU"
    return {
        "date": date.today().isoformat(),
        "device": device,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table.

    Example:
        >>> print(markdown(["loss", "ratio"], [["kd", "0.9"]]))
        | loss | ratio |
        |---|---|
        | kd | 0.9 |
    """
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("|" + "|".join(line) + "|" if line is lines[1] else f"| {' | '.join(line)} |" for line in lines)


def write(
    name: str, command: str, columns: Sequence[str], rows: Sequence[Sequence[str]], data: Mapping[str, Any]
) -> None:
    """Print the table, put it into the README and the numbers into ``results/<name>.json``."""
    facts = machine()
    table = markdown(columns, rows)
    print(table)
    results = FOLDER / "results" / f"{name}.json"
    results.parent.mkdir(exist_ok=True)
    results.write_text(json.dumps({"command": command, "machine": facts, **data}, indent=1) + "\n")
    where = ", ".join(f"{key} {value}" for key, value in facts.items())
    readme = FOLDER / "README.md"
    section = f"<!-- {name} -->\n`{command}` ({where})\n\n{table}\n<!-- end {name} -->"
    text = readme.read_text()
    pattern = re.compile(rf"<!-- {re.escape(name)} -->.*?<!-- end {re.escape(name)} -->", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"Expected `{readme.name}` to have the marks of {name!r}, but got none. Add them.")
    readme.write_text(pattern.sub(lambda _: section, text))
