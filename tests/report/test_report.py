"""Numbers in files, a table, and an honest sentence."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import nn

from lightning_distill.report import RunFolder, final_table, median_latency_ms, verdict
from lightning_distill.report.console import say
from lightning_distill.report.verdict import difference_error


def text(table: object) -> str:
    file = io.StringIO()
    Console(file=file, width=120).print(table)
    return file.getvalue()


def test_folder__adds_roles_in_order(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    assert folder.read() == {}
    folder.write("student", {"test/accuracy": 0.5})
    folder.write("run", {"seed": 1})
    folder.write("teacher", {"test/accuracy": 0.9})
    folder.write("student", {"test/accuracy": 0.6})
    folder.write("run", {"alpha": 0.1})
    assert json.loads(folder.metrics.read_text()) == {
        "teacher": {"test/accuracy": 0.9},
        "student": {"test/accuracy": 0.6},
        "run": {"format_version": 1, "seed": 1, "alpha": 0.1},
    }
    assert list(folder.read()) == ["teacher", "student", "run"]
    assert [path.name for path in folder.path.iterdir()] == ["metrics.json"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "to hold JSON"),
        ("[]", "to hold one mapping per role"),
        ('{"run": {"format_version": 2}}', "format_version 1, but got 2"),
    ],
)
def test_folder__file_of_another_kind(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(ValueError, match="Expected") as raised:
        RunFolder(tmp_path).write("student", {})
    assert said in str(raised.value)
    assert (tmp_path / "metrics.json").read_text() == content


def test_table__shows_what_was_measured() -> None:
    shown = text(
        final_table(
            {
                "teacher": {"test/accuracy": 0.98, "parameters": 58474},
                "student": {
                    "test/accuracy": 0.9123,
                    "test/student_loss": 0.25,
                    "parameters": 1466,
                    "file_bytes": 7128,
                    "latency_ms": 0.0815,
                    "test/teacher_agreement": 0.93,
                },
                "run": {"seed": 0},
            }
        )
    )
    assert "baseline" not in shown
    student = next(line for line in shown.splitlines() if line.startswith("│ student"))
    assert [cell.strip() for cell in student.strip("│").split("│")] == [
        *("student", "91.23%", "0.2500", "1,466", "7.1 kB", "0.082 ms", "93.00%")
    ]


def test_verdict__gives_the_difference_and_its_error() -> None:
    said = verdict(0.80, 0.75, samples=225)
    # sqrt((0.8 * 0.2 + 0.75 * 0.25) / 225) = 0.0393
    assert "+5.0 points on 225 test samples (standard error 3.9)" in said
    assert "no evidence" in said
    assert difference_error(0.8, 0.75, 225) == pytest.approx(0.0393, abs=1e-4)


def test_verdict__of_a_loss_and_without_baseline() -> None:
    assert "-5.0 points" in verdict(0.75, 0.80, samples=225)
    assert "no baseline" in verdict(0.75, None, samples=225)


def test_latency__leaves_no_trace() -> None:
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = median_latency_ms({"student": model}, torch.randn(4, 1, 8, 8), repeats=10)
    assert 0 < found["student"] < 1000
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_latency__orders_by_work_and_takes_any_precision() -> None:
    models = {"small": nn.Linear(8, 8), "large": nn.Sequential(*(nn.Linear(8, 8) for _ in range(50))).double()}
    found = median_latency_ms(models, torch.randn(4, 8), repeats=20)
    assert found["small"] < found["large"]


def test_say__keeps_long_lines_whole(capsys: pytest.CaptureFixture[str]) -> None:
    say("word " * 60 + "[brackets] stay")
    assert capsys.readouterr().out == "word " * 60 + "[brackets] stay\n"
