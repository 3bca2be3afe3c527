"""The run folder: which file is where, and ``metrics.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_distill.files import replacing
from lightning_distill.text_files import read_json

ROLES = ("teacher", "baseline", "student")
FORMAT_VERSION = 1
Scalar = bool | int | float | str | None


@dataclass(frozen=True)
class RunFolder:
    """Paths inside one run's folder.

    ``metrics.json`` holds one flat mapping of scalars per role and one for the run:
    ``{"teacher": {...}, "baseline": {...}, "student": {...}, "run": {"format_version": 1, ...}}``. A role appears when
    its stage is finished, so the file also says where an interrupted run goes on.

    Args:
        path: The folder.

    Example:
        >>> RunFolder(Path("outputs/first")).weights("student").as_posix()
        'outputs/first/student.safetensors'
    """

    path: Path

    @property
    def config(self) -> Path:
        """The resolved config."""
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        """The numbers."""
        return self.path / "metrics.json"

    def weights(self, role: str) -> Path:
        """A role's weights."""
        return self.path / f"{role}.safetensors"

    def csv(self, role: str) -> Path:
        """A role's numbers per epoch."""
        return self.path / f"{role}.csv"

    def predictions(self, role: str) -> Path:
        """What a role's network said about the test samples."""
        return self.path / "predictions" / f"{role}.safetensors"

    @property
    def report(self) -> Path:
        """The page to look at."""
        return self.path / "report.html"

    @property
    def figures(self) -> Path:
        """The folder of the page's figures as PNG."""
        return self.path / "report"

    def checkpoints(self, role: str) -> Path:
        """The folder of a role's checkpoints."""
        return self.path / "checkpoints" / role

    @property
    def folders(self) -> list[Path]:
        """Every folder that the run itself writes to, as far as they are there."""
        return [self.path, *(path for path in (self.figures, self.path / "predictions") if path.is_dir())]

    def read(self) -> dict[str, dict[str, Scalar]]:
        """What ``metrics.json`` holds so far; empty if there is none.

        Raises:
            ValueError: If the file is not what a run writes.
        """
        if not self.metrics.exists():
            return {}
        content = read_json(self.metrics)
        roles = content if isinstance(content, dict) else {}
        if not roles or not all(isinstance(values, dict) and _are_scalars(values) for values in roles.values()):
            raise ValueError(
                f"Expected {self.metrics} to hold one mapping per role, of numbers and texts, but got something else. "
                "Delete it to start over."
            )
        version = roles.get("run", {}).get("format_version")
        if version != FORMAT_VERSION:
            raise ValueError(f"Expected {self.metrics} to have format_version {FORMAT_VERSION}, but got {version!r}.")
        return dict(content)

    def write(self, role: str, values: Mapping[str, Scalar]) -> None:
        """Set one role's numbers, or add to the run's, without ever leaving a half-written file."""
        content = self.read()
        content[role] = {**content.get(role, {}), **values} if role == "run" else dict(values)
        content.setdefault("run", {}).setdefault("format_version", FORMAT_VERSION)
        ordered = {name: content[name] for name in (*ROLES, "run") if name in content}
        write_text_atomically(self.metrics, json.dumps(ordered, indent=2) + "\n")


def _are_scalars(values: Mapping[str, Any]) -> bool:
    """Whether these are numbers and texts, and no number is beyond what a float holds."""
    return all(
        value is None or isinstance(value, (bool, float, str)) or (isinstance(value, int) and abs(value) < 2**63)
        for value in values.values()
    )


def write_text_atomically(path: Path, text: str) -> None:
    """Write a file so that it is either absent, old or complete."""
    with replacing(path) as part:
        part.write_text(text)
