"""From folders of runs to a verdict."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lightning_distill.report.settings import group_by_setting, read_runs
from lightning_distill.report.summary import folders, main, summarize
from tests.report.runs import write_run


def test_paired_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, (baseline, student) in enumerate([(0.70, 0.75), (0.80, 0.85), (0.90, 0.94)]):
        write_run(tmp_path / str(seed), seed, baseline, student)
    assert main([f"runs={tmp_path}"]) == 0
    said = capsys.readouterr().out
    # The seeds differ by 10 points, student and baseline of one seed by 4 to 5: pairing is what shows it.
    assert "BEATS: +4.7 points over 3 seeds (95 % interval +3.2 to +6.1, paired t-test p = 0.0051)." in said
    assert "84.67%" in said
    assert "10.00%" in said
    assert "not of the last one" in said


def test_settings__differ_in_more_than_the_seed(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path / f"a{seed}", seed, 0.80 + seed / 100, 0.85 + seed / 90)
        write_run(tmp_path / f"b{seed}", seed, 0.80 + seed / 100, 0.75 + seed / 90, alpha=0.5)
    summary = summarize(read_runs([tmp_path]))
    assert [(s.label, [run.seed for run in s.runs]) for s in summary.settings] == [
        ("alpha=0.1", [0, 1, 2]),
        ("alpha=0.5", [0, 1, 2]),
    ]
    assert [c.judgement for c in summary.comparisons] == ["BEATS", "WORSE"]
    assert "corrected for 2 comparisons" in summary.comparisons[0].reason
    assert any("seeds that took no part in the choice" in note for note in summary.notes)


def test_settings__the_teachers_seed_is_a_setting(tmp_path: Path) -> None:
    write_run(tmp_path / "a", 0, 0.8, 0.9)
    write_run(tmp_path / "b", 1, 0.8, 0.9)
    write_run(tmp_path / "c", 0, 0.8, 0.9, teacher={"seed": 1})
    settings = group_by_setting(read_runs([tmp_path]))
    assert [(s.label, len(s.runs)) for s in settings] == [("teacher.seed=0", 2), ("teacher.seed=1", 1)]


def test_settings__a_seed_counts_once(tmp_path: Path) -> None:
    for name, student in (("a", 0.8), ("b", 0.9)):
        write_run(tmp_path / name, 0, 0.8, student)
    (setting,) = group_by_setting(read_runs([tmp_path]))
    assert setting.values("student", "test/accuracy") == [0.9]


def test_best__is_chosen_by_validation(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path / f"a{seed}", seed, None, 0.90, val=0.80)
        write_run(tmp_path / f"b{seed}", seed, None, 0.70, val=0.85, temperature=8.0)
    summary = summarize(read_runs([tmp_path]))
    assert summary.best is not None
    assert summary.settings[summary.best].label == "temperature=8.0"
    assert {c.judgement for c in summary.comparisons} == {"NO DIFFERENCE"}
    assert "baseline=true" in summary.comparisons[0].reason


def test_notes__unequal_budgets(tmp_path: Path) -> None:
    write_run(tmp_path / "a", 0, 0.8, 0.9, epochs=(30, 12))
    write_run(tmp_path / "b", 1, 0.8, 0.9)
    notes = summarize(read_runs([tmp_path])).notes
    assert any(note.startswith("In 1 of 2 runs, student and baseline were trained for different") for note in notes)


def test_written__page_numbers_and_plots(tmp_path: Path) -> None:
    for seed in range(3):
        for alpha in (0.1, 0.5):
            for temperature in (2.0, 8.0):
                place = tmp_path / f"{seed}{alpha}{temperature}"
                write_run(place, seed, 0.8, 0.8 + temperature / 100, alpha=alpha, temperature=temperature)
    assert main([str(tmp_path)]) == 0
    written = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert written == {"verdict.html", "verdict.json", "pareto.png", "alpha_temperature.png"}
    verdict = json.loads((tmp_path / "verdict.json").read_text())
    assert verdict["format_version"] == 1
    assert [s["seeds"] for s in verdict["settings"]] == [[0, 1, 2]] * 4
    assert verdict["settings"][0]["difference"]["mean"] == pytest.approx(0.02)
    assert verdict["settings"][0]["judgement"] == "BEATS"
    page = (tmp_path / "verdict.html").read_text()
    assert page.count("<svg") == 2
    assert "could not be drawn" not in page
    assert "alpha=0.1 temperature=8.0, best by validation" in page


def test_many_settings__are_a_row_each_and_points(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As a random search leaves them: no value of alpha or temperature occurs twice."""
    for trial in range(6):
        place = {"alpha": 0.12345678 * (trial + 1), "temperature": 1.5 + trial}
        write_run(tmp_path / str(trial), 100, None, 0.8, val=0.8 - trial / 100, **place)
    assert main([str(tmp_path)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "alpha=" in line]
    assert lines[0].startswith("│ alpha=0.1235 temperature=1.5 │     80.00% │ 80.00% │")
    assert "temperature=6.5 " in lines[5]
    assert "could not be drawn" not in (tmp_path / "verdict.html").read_text()


def test_one_setting__needs_no_heat_map(tmp_path: Path) -> None:
    write_run(tmp_path / "0", 0, 0.8, 0.9)
    assert main([str(tmp_path)]) == 0
    assert "alpha_temperature.png" not in {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "Expected nowhere to be a folder of runs"),
        (["run=here"], "Expected folders of runs, or runs=FOLDER, but got 'run=here'"),
        (["."], "there is no metrics.json below it"),
    ],
)
def test_mistakes__are_answered(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_unfinished_runs__are_no_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "metrics.json").write_text('{"teacher": {}, "run": {"format_version": 1}}')
    assert main([str(tmp_path)]) == 1
    assert "the 1 below it have not finished" in capsys.readouterr().err


def test_folders__one_or_many(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    assert folders([f"runs={tmp_path}/a,{tmp_path}/b"]) == [tmp_path / "a", tmp_path / "b"]


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "usage: lightning-distill-report FOLDER" in capsys.readouterr().out
    assert main([]) == 2
