"""The examples run as they stand, and are short."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from tests.configs import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def names(example: str) -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "examples" / f"{example}.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example__is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 60


def test_own_project__student_learns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert names("own_project")["main"](max_epochs=8) > 0.75
    assert (tmp_path / "student.safetensors").exists()


@pytest.mark.slow
def test_image_folder__student_learns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example = names("image_folder")
    assert example["main"](example["make_folder"](tmp_path / "images")) > 0.75
    assert (tmp_path / "student.pt2").exists()


@pytest.mark.slow
def test_bert__student_learns(capsys: pytest.CaptureFixture[str]) -> None:
    assert names("bert")["main"](max_epochs=4) > 0.35
