"""Imports point down, and only where configs are read is Hydra known."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lightning_distill"
# From the bottom up; a module imports from its own layer and those before it.
LAYERS = (
    ("checks", "engine", "files", "processes", "stop", "text_files", "types"),
    ("losses",),
    (
        "adapters",
        "data",
        "deepspeed_folder",
        "dry_run",
        "export",
        "memory_format",
        "metrics",
        "models",
        "optim",
        "quantize",
        "schedules",
        "sharded",
        "taps",
        "weight_names",
        "warmup",
        "weights",
    ),
    ("teachers",),
    ("distillers",),
    ("callbacks", "report"),
    ("pipeline",),
    (
        "build",
        "cli",
        "config_checkpoint",
        "config_keys",
        "config_networks",
        "config_nodes",
        "config_teacher",
        "config_values",
        "explain",
        "saved_config",
    ),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
FILES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")
HYDRA = ("hydra", "omegaconf")
LIGHTNING = ("pytorch_lightning", "lightning", "lightning_fabric")
ABOVE_LOSSES = ("lightning_distill.engine", "torchmetrics")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def unit(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    for name in imports(path):
        top, _, rest = name.partition(".")
        if top == "lightning_distill" and rest.split(".")[0] in LEVEL:
            assert LEVEL[rest.split(".")[0]] <= LEVEL[unit(path)], f"{unit(path)} imports {name}"
        assert top not in HYDRA or unit(path) in LAYERS[-1], f"{unit(path)} knows {top}"
        assert top not in LIGHTNING or unit(path) == "engine", f"{unit(path)} imports {top}: use engine.pl"
        assert not name.startswith(ABOVE_LOSSES) or unit(path) not in ("losses", "checks", "types")


def test_every_unit_has_a_layer() -> None:
    assert {unit(path) for path in FILES} <= set(LEVEL)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_stay_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 350
