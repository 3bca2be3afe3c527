"""Each file of a run, cut off: ``resume=`` names it and a way out that works, or goes on to what would have been."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.configs import files
from tests.faults.killing import Ending, Events, in_a_fork
from tests.faults.script import differences, everything
from tests.faults.test_writes import Written, whole_run

LENGTHS: dict[str, Callable[[int], int]] = {
    "nothing": lambda size: 0,
    "half": lambda size: size // 2,
    "all but a byte": lambda size: size - 1,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """A finished run, and what happened in it."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    ending = in_a_fork(lambda: whole_run(folder))
    assert ending.code == 0
    return folder, ending.seen


def cut(folder: Path, source: Path, name: str, length: str) -> Path:
    """A copy of a run, in its old place, with one file cut off."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
    size = (folder / name).stat().st_size
    os.truncate(folder / name, LENGTHS[length](size))
    return folder / name


def cases(folder: Path, all_of_them: bool) -> list[tuple[str, str]]:
    """Files and what is left of them: all, or one length of each file in turns."""
    names = [name for name in files(folder) if (folder / name).stat().st_size > 0]
    if all_of_them:
        return [(name, length) for name in names for length in LENGTHS]
    return [(name, list(LENGTHS)[index % len(LENGTHS)]) for index, name in enumerate(names)]


def follow(path: Path, folder: Path, good: Path) -> None:
    """Do what the message says."""
    if path.name == "config.yaml":
        shutil.copyfile(good / path.name, path)
    elif path.suffix == ".safetensors":
        (folder / "metrics.json").unlink()
    elif path.name in ("header.json", "best.ckpt"):
        shutil.rmtree(path.parent)
    elif path.name == "last.ckpt" and path.with_name("best.ckpt").exists():
        shutil.copyfile(path.with_name("best.ckpt"), path)
    else:
        path.unlink()


def named(ending: Ending, path: Path) -> bool:
    """Whether a message names the file, or the folder of a store."""
    ways = ("Delete", "delete", "Bring it back", "Copy")
    return ending.answered and str(path) in ending.error and any(way in ending.error for way in ways)


@pytest.mark.slow
def test_interrupted_run__with_a_file_that_is_cut_off(
    tmp_path: Path,
    whole: Written,
    request: pytest.FixtureRequest,
    tried: Callable[[str, int], None],
) -> None:
    finished, seen = whole
    expected, folder, source = everything(finished), tmp_path / "run", tmp_path / "source"
    last_batch = len(seen) - seen[::-1].index("on_train_batch_start")  # of the student
    assert in_a_fork(lambda: whole_run(folder), Events(last_batch)).code < 0
    shutil.copytree(folder, source)
    chosen, refused = cases(source, request.config.getoption("--kill-points") >= 200), 0
    for name, length in chosen:
        path = cut(folder, source, name, length)
        ending = in_a_fork(lambda: whole_run(folder))
        if ending.code != 0:
            assert named(ending, path), (name, length, ending.error)
            refused += 1
            follow(path, folder, source)
            ending = in_a_fork(lambda: whole_run(folder))
            assert ending.code == 0, (name, length, ending.error)
        if (folder / name).stat().st_size == LENGTHS[length]((source / name).stat().st_size):
            shutil.copyfile(source / name, folder / name)  # nothing needed it, so nothing wrote it anew
        apart = differences(everything(folder), expected)
        assert [key for key in apart if key not in lost(name)] == [], (name, length)
        assert files(folder) == files(finished)
    tried("files cut off", len(chosen))
    assert refused >= 5


def lost(name: str) -> tuple[str, ...]:
    """What is held by nothing but a file that is deleted in the end: the history, and what was typed."""
    role = Path(name).stem
    return (f"{role} rows", f"metrics/{role}/epochs") if name.endswith(".csv") else ("metrics/run/command",)


@pytest.mark.slow
def test_finished_run__with_a_file_that_is_cut_off(
    tmp_path: Path,
    whole: Written,
    request: pytest.FixtureRequest,
    tried: Callable[[str, int], None],
) -> None:
    """Whatever is needed for the report again is refused; nothing else is touched."""
    finished, _ = whole
    folder = tmp_path / "run"
    chosen = cases(finished, request.config.getoption("--kill-points") >= 200)
    if request.config.getoption("--kill-points") < 200:
        chosen = [(name, length) for name, length in chosen if "/" not in name]
    refused = set()
    for name, length in chosen:
        path = cut(folder, finished, name, length)
        before = {other: (folder / other).read_bytes() for other in files(folder) if other != "metrics.json"}
        ending = in_a_fork(lambda: whole_run(folder))
        if ending.code != 0:
            assert named(ending, path), (name, length, ending.error)
            refused.add(name)
        config = before.pop("config.yaml")
        assert {other: (folder / other).read_bytes() for other in before} == before
        assert (folder / "config.yaml").read_bytes() == config
    tried("files cut off", len(chosen))
    assert {f"{role}.safetensors" for role in ("teacher", "student")} <= refused
