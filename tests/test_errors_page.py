"""Each row of docs/errors.md happens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hydra.errors import HydraException

from lightning_distill.pipeline.preflight import preflight
from tests.configs import ROOT, TINY, planned

PAGE = (ROOT / "docs" / "errors.md").read_text()
TABLE = PAGE.partition("## Bad input")[2].partition("\n## ")[0]
ROWS = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in TABLE.splitlines() if " | `" in line]
EXAMPLES = [re.findall(r"`([^`]+)`", row[2])[0] for row in ROWS]


@pytest.mark.parametrize("example", EXAMPLES)
def test_row__is_an_error_that_names_the_argument(
    example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where there are no runs to go on from
    argument = example.split("=")[0].lstrip("+").rpartition(".")[2]
    options = (*TINY, "teacher_cache=null", "baseline=false")
    with pytest.raises((ValueError, OSError, HydraException)) as raised:
        preflight(planned(tmp_path / "run", *options, example))
    assert argument in str(raised.value) or example.partition("=")[2] in str(raised.value)
    assert not (tmp_path / "run").exists()


def test_rows__there_are_some() -> None:
    assert len(EXAMPLES) >= 14
