"""Several seeds in one table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lightning_distill.report.summary import gain, main


def write(folder: Path, seed: int, baseline: float, student: float, alpha: float = 0.1) -> None:
    (folder / str(seed)).mkdir()
    metrics = {
        "baseline": {"test/accuracy": baseline},
        "student": {"test/accuracy": student},
        "run": {"format_version": 1, "seed": seed, "alpha": alpha, "temperature": 4.0},
    }
    (folder / str(seed) / "metrics.json").write_text(json.dumps(metrics))


def test_paired_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, (baseline, student) in enumerate([(0.70, 0.75), (0.80, 0.85), (0.90, 0.94)]):
        write(tmp_path, seed, baseline, student)
    assert main([str(tmp_path)]) == 0
    said = capsys.readouterr().out
    # The seeds differ by 10 points, student and baseline of one seed by 4 to 5: pairing is what shows it.
    assert "+4.7 points over 3 seeds, standard error 0.3: distillation helped." in said
    assert "84.67%" in said
    assert "10.00%" in said


@pytest.mark.parametrize(
    ("students", "said"),
    [((0.8, 0.9), "no difference that these runs can show"), ((0.70, 0.71), "distillation did harm")],
)
def test_honest_otherwise(students: tuple[float, float], said: str) -> None:
    runs = [{"baseline": {"test/accuracy": 0.85}, "student": {"test/accuracy": value}} for value in students]
    found = gain(runs)
    assert found is not None
    assert said in found.text


def test_one_run_is_no_comparison(tmp_path: Path) -> None:
    assert gain([{"baseline": {"test/accuracy": 0.8}, "student": {"test/accuracy": 0.9}}]) is None


def test_refuses_what_does_not_belong_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 1
    assert "no metrics.json below it" in capsys.readouterr().out
    write(tmp_path, 0, 0.7, 0.8)
    write(tmp_path, 1, 0.7, 0.8, alpha=0.5)
    assert main([str(tmp_path)]) == 1
    assert "differ in their seed only" in capsys.readouterr().out
    assert main([]) == 2
