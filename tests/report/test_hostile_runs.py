"""Folders of runs from anyone: what their files say is shown as text, and what is no file of a run is an error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lightning_distill.callbacks.epoch_csv import read_rows
from lightning_distill.cli.answers import answered
from lightning_distill.report.folder import RunFolder
from lightning_distill.report.settings import read_runs
from lightning_distill.report.summary import main, summarize
from lightning_distill.saved_config import read_config

GOOD = {"student": {"test/accuracy": 0.5, "val/accuracy": 0.5}, "run": {"format_version": 1, "seed": 0}}
INJECTED = "</td><script>alert(1)</script><img src=x onerror=alert(2)>\x1b]0;title\x07"


@pytest.fixture(autouse=True)
def little_time() -> Iterator[None]:
    """A pipe that is waited for, and a device that is read without end, fail instead."""
    if not hasattr(os, "mkfifo"):
        pytest.skip("there are no pipes")
    import signal

    def late(*_: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def run(folder: Path, metrics: str | None = None, config: str | None = None) -> Path:
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(GOOD) if metrics is None else metrics)
    if config is not None:
        (folder / "config.yaml").write_text(config)
    return folder


def place(kind: str, path: Path) -> None:
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")


READERS: dict[str, Callable[[Path], object]] = {
    "metrics.json": lambda path: read_runs([path.parent]),
    "config.yaml": lambda path: read_runs([path.parent]),
    "student.csv": read_rows,
}


@pytest.mark.parametrize("kind", ["pipe", "folder", "endless"])
@pytest.mark.parametrize("name", READERS)
def test_files__that_are_none(name: str, kind: str, tmp_path: Path) -> None:
    folder = run(tmp_path / "run")
    place(kind, folder / name)
    with pytest.raises(ValueError, match=f"{name} to be an ordinary file"):
        READERS[name](folder / name)
    if name == "config.yaml":
        with pytest.raises(ValueError, match="to be an ordinary file"):
            read_config(folder / name)


@pytest.mark.parametrize(
    "metrics",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        json.dumps(GOOD).replace("0.5", "9" * 5000),
        json.dumps(GOOD).replace("0.5", "9" * 400),
        json.dumps(GOOD | {"student": {"test/accuracy": {"a": 1}}}),
        json.dumps(GOOD | {"run": {"format_version": 1, "seed": [1]}}),
        json.dumps(GOOD | {"run": {"format_version": 2}}),
        json.dumps(GOOD | {"run": [1]}),
        "\ufeff{}",
    ],
    ids=lambda metrics: metrics[:20],
)
def test_metrics__that_no_run_writes(metrics: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"run/metrics\.json to"):
        read_runs([run(tmp_path / "run", metrics)])


def test_metrics__that_are_too_long(tmp_path: Path) -> None:
    folder = run(tmp_path / "run")
    with (folder / "metrics.json").open("wb") as file:
        file.truncate(10 * 2**30)
    with pytest.raises(ValueError, match=r"metrics\.json to be at most 16777216 bytes long, but got 10737418240"):
        RunFolder(folder).read()


@pytest.mark.parametrize(
    "config",
    [
        "[" * 20_000,
        "a: " + "{a: " * 5_000,
        "a0: &a [1]\nb: [*a, *a]\n",
        "a: !!python/object/apply:os.mkdir ['harm']\n",
        "a: 2020-13-45\n",
        "a: " + "9" * 5000,
        "? [1, 2]\n: 3\n? {}\n: 4\n",
        "a: \x00",
    ],
    ids=lambda config: repr(config[:20]),
)
def test_configs__that_no_run_writes(config: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"run/config\.yaml to be a config that a run wrote, but it cannot be read"):
        read_runs([run(tmp_path / "run", config=config)])


def test_accuracies__that_are_nan_are_left_out_and_said(tmp_path: Path) -> None:
    run(tmp_path / "a", json.dumps(GOOD).replace("0.5", "NaN"), "alpha: 0.1\n")
    run(tmp_path / "b", config="alpha: 0.5\n")
    found = summarize(read_runs([tmp_path]))
    assert found.best is not None
    assert found.settings[found.best].label == "alpha=0.5"
    assert "In 1 of 2 runs the student has no finite test accuracy: they are left out." in found.notes


@pytest.mark.slow
def test_verdict__shows_what_is_injected_as_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in (("a", json.dumps(INJECTED)), ("b", "1")):
        run(tmp_path / name, config=f"? {json.dumps(INJECTED)}\n: {value}\nalpha: 0.1\n")
    assert main([str(tmp_path)]) == 0
    page = (tmp_path / "verdict.html").read_text()
    assert "&lt;script&gt;alert(1)" in page
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "\x1b" not in page + capsys.readouterr().out


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text elsewhere")
def test_errors__can_be_printed_whatever_a_file_is_called(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    def command() -> None:
        RunFolder(Path(os.fsdecode(b"/dev/\xff\x1b[31m"))).read()
        read_runs([Path(os.fsdecode(b"/dev/null/\xff\x1b[31m"))])

    assert answered(command) == 1
    said = capsysbinary.readouterr().err
    assert said.startswith(b"error: Expected /dev/null/")
    assert b"\x1b" not in said
