"""Every write of a run fails once: a message names the file, nothing is lost or half, and the run goes on."""

from __future__ import annotations

import errno
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lightning_distill.build import build
from lightning_distill.pipeline import run
from tests.configs import composed, files, tiny_run
from tests.faults.failing import Failing
from tests.faults.killing import Ending, in_a_fork
from tests.faults.script import check_whole, differences, everything

FULL = (errno.ENOSPC, errno.EDQUOT)
CODES = (*FULL, errno.EIO, errno.EROFS, errno.EACCES)
SHORT = ("trainer.max_steps=2", "checkpoints.every_n_steps=1", "data.train_samples=50", "export=null", "baseline=false")
Written = tuple[Path, tuple[str, ...]]  # the folder of a run, and what was seen in it
STORED = ("teacher=cached", "augment=standard", "data.augment.padding=1")


def whole_run(folder: Path) -> None:
    """In a fork: a run with teacher, student, a store and a kept teacher, resumed where it had begun."""
    sys.modules["lightning_distill.teachers.remember"].chunk_rows_for = lambda row_bytes: 20  # type: ignore[attr-defined]
    if (folder / "config.yaml").exists():
        run(build(composed(f"resume={folder}"), [f"resume={folder}"]))
    else:
        tiny_run(folder, *SHORT, *STORED, f"teacher_cache={folder / 'kept'}")


def reported(folder: Path) -> None:
    """The end of a run again, with its page and its deployable student."""
    config = folder / "config.yaml"
    text = config.read_text().replace("export: null", "export: student.pt2").replace("report: false", "report: true")
    config.write_text(text)
    whole_run(folder)


def check_message(ending: Ending, name: str, code: int) -> None:
    said = "Expected room on the disk for" if code in FULL else "Expected to be able to write"
    assert ending.code == 1
    assert ending.answered, ending.error
    assert said in ending.error
    assert name in ending.error
    assert "go on from the last checkpoint: resume=<run folder>" in ending.error


def check_folder(folder: Path) -> None:
    """Nothing is half, under whatever name."""
    check_whole(folder)
    assert [name for name in files(folder) if ".part" in name] == []


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """A run without faults, and what it wrote."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    ending = in_a_fork(lambda: whole_run(folder), Failing())
    assert ending.code == 0, ending.error
    return folder, ending.seen


def chosen(written: tuple[str, ...], everything: bool) -> list[int]:
    """Which writes fail, counted from 1: all, or one of each file."""
    if everything:
        return list(range(1, len(written) + 1))
    chooser = random.Random(0)
    return sorted(chooser.choice([i + 1 for i, n in enumerate(written) if n == name]) for name in sorted(set(written)))


@pytest.mark.slow
def test_each_write__fails_once(
    tmp_path: Path,
    finished: Written,
    request: pytest.FixtureRequest,
    tried: Callable[[str, int], None],
) -> None:
    whole, written = finished
    expected, places = everything(whole), chosen(written, request.config.getoption("--kill-points") >= 200)
    for at in places:
        folder, code = tmp_path / f"{at}", CODES[at % len(CODES)]
        check_message(in_a_fork(lambda: whole_run(folder), Failing(at, code)), written[at - 1], code)  # noqa: B023
        if folder.exists():
            check_folder(folder)
        ending = in_a_fork(lambda: whole_run(folder))  # noqa: B023
        assert ending.code == 0, (written[at - 1], ending.error)
        assert differences(everything(folder), expected) == [], written[at - 1]
        assert files(folder) == files(whole)
        shutil.rmtree(folder)
    tried("failing writes", len(places))
    assert len(places) >= len(set(written)) >= 13


@pytest.mark.slow
def test_report__fails_alone(tmp_path: Path, finished: Written, tried: Callable[[str, int], None]) -> None:
    """Half a figure takes nothing else along; half an export is an error."""
    shutil.copytree(finished[0], tmp_path / "whole")
    written = in_a_fork(lambda: reported(tmp_path / "whole"), Failing()).seen
    figure = next(name for name in written if name.endswith(".png"))
    places = [written.index(name) + 1 for name in ("student.pt2", figure)]
    for at in places:
        folder, name = tmp_path / f"{at}", written[at - 1]
        shutil.copytree(finished[0], folder)
        ending = in_a_fork(lambda: reported(folder), Failing(at, errno.ENOSPC))  # noqa: B023
        check_folder(folder)
        if name == "student.pt2":
            check_message(ending, name, errno.ENOSPC)
        else:
            assert ending.code == 0
            assert "Expected room on the disk for" in (folder / "report.html").read_text()
        assert name not in "".join(files(folder))
        assert in_a_fork(lambda: reported(folder)).code == 0  # noqa: B023
        assert files(folder) == files(tmp_path / "whole")
    tried("failing writes", len(places))


# A disk of its own.


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """An empty one of 16 kB, in memory."""
    path = tmp_path / "disk"
    path.mkdir()
    if mount("-t", "tmpfs", "-o", "size=16k", "tmpfs", str(path)) != 0:
        pytest.skip("needs leave to mount a disk of its own")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def mount(*arguments: str) -> int:
    try:
        return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode
    except FileNotFoundError:  # a system that has no such command
        return 1


def change(disk: Path, *options: str) -> None:
    assert mount("-o", ",".join(["remount", *options]), str(disk)) == 0


def size_of(folder: Path) -> int:
    return sum((folder / name).stat().st_size for name in files(folder))


@pytest.mark.slow
def test_small_disk__is_enlarged_again_and_again(
    disk: Path, finished: Written, tried: Callable[[str, int], None]
) -> None:
    """One run on a disk that is full a dozen times: real errors of every library that writes."""
    whole, _ = finished
    folder, full, size = disk / "run", 0, 16_384
    while (ending := in_a_fork(lambda: whole_run(folder))).code != 0:
        assert ending.answered, ending.error
        assert "Expected room on the disk for" in ending.error
        if folder.exists():
            check_folder(folder)
        full, size = full + 1, size + size_of(whole) // 8
        change(disk, f"size={size}")
    assert differences(everything(folder), everything(whole)) == []
    assert files(folder) == files(whole)
    tried("full disks", full)
    assert full >= 8


@pytest.mark.slow
def test_disk__that_may_only_be_read(disk: Path, finished: Written) -> None:
    whole, _ = finished
    change(disk, "size=16m")
    assert in_a_fork(lambda: whole_run(disk / "run"), Failing(30, errno.EIO)).code == 1
    before = {name: (disk / "run" / name).read_bytes() for name in files(disk / "run")}
    change(disk, "ro")
    ending = in_a_fork(lambda: whole_run(disk / "run"))
    assert ending.code == 1
    assert ending.answered
    assert "to be a folder that can be written to, but got" in ending.error
    assert {name: (disk / "run" / name).read_bytes() for name in files(disk / "run")} == before
    change(disk, "rw")
    assert in_a_fork(lambda: whole_run(disk / "run")).code == 0
    assert differences(everything(disk / "run"), everything(whole)) == []
