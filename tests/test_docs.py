"""The tables of docs/losses.md name every loss and every config, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import lightning_distill.losses as losses
from tests.configs import ROOT, composed, options

PAGE = (ROOT / "docs" / "losses.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("| ").split(" | ")] for line in PAGE.splitlines() if line.startswith("| `")
]
TABLES = [row for row in ROWS if len(row) == 7]


def test_losses__every_class_has_a_row() -> None:
    named = {re.match(r"`(\w+)", row[0]).group(1) for row in TABLES}  # type: ignore[union-attr]
    assert named == {name for name in losses.__all__ if name.endswith("Loss")}


def test_losses__every_config_is_in_a_row() -> None:
    named = {name for row in TABLES for name in re.findall(r"`(\w+)`", row[1])}
    assert named == set(options("loss")) | set(options("terms"))


def test_losses__a_row_has_no_empty_cell() -> None:
    assert all(cell for row in TABLES for cell in row)


def test_recipes__every_experiment_is_in_one_of_the_tables() -> None:
    losses_page = PAGE.partition("## Recipes")[2].partition("The weights are")[0]
    recipes_page = (ROOT / "docs" / "recipes.md").read_text()
    named = set(re.findall(r"`(\w+)`", losses_page)) | set(re.findall(r"`experiment=(\w+)`", recipes_page))
    assert named == set(options("experiment"))


def test_losses__the_command_composes() -> None:
    command = ["alpha=1.0", "distiller.distillation_weight=0", "+terms@distiller.terms.at=at"]
    config = composed(*command, "distiller.terms.at.weight=500")
    assert config.distiller.terms.at.weight == 500


def test_losses__links_lead_somewhere() -> None:
    for link in re.findall(r"\]\((\.\.?/[^)#]+)\)", PAGE):
        assert (Path(ROOT / "docs") / link).exists(), link


@pytest.mark.parametrize("page", ["models", "recipes"])
def test_pages__blocks_run_and_links_lead_somewhere(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / f"{page}.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    assert blocks
    for number, block in enumerate(blocks):
        exec(compile(block, f"{page}.md block {number}", "exec"), {"__name__": page})
    for link in re.findall(r"\]\(([\w.]+\.md)\)", text):
        assert (ROOT / "docs" / link).exists(), link
