"""``ckpt_path=last``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from lightning_distill.config_checkpoint import take_last_checkpoint
from lightning_distill.pipeline import run
from tests.configs import composed, files, planned, tiny_run
from tests.test_pipeline import rows

ALONE = ("teacher=null", "export=null")


def last_of(run: str, age: int = 0) -> Path:
    path = Path(run) / "checkpoints/student/last.ckpt"
    path.parent.mkdir(parents=True)
    path.touch()
    os.utime(path, ns=(0, 10**9 * (100 - age)))
    return path


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_last__is_the_newest_of_other_runs() -> None:
    last_of("outputs/2026-02-02/10-00-00", age=2)
    newest = last_of("outputs/2026-02-01/10-00-00", age=1)  # an older run that was resumed
    last_of("outputs/2026-02-03/10-00-00")  # this one
    Path("outputs/teachers").mkdir()
    config = composed("ckpt_path=last", "output_dir=outputs/2026-02-03/10-00-00")
    take_last_checkpoint(config)
    assert config.ckpt_path == str(newest)


def test_last__of_none(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"there is no outputs/\*/\*/checkpoints/student/last\.ckpt in "
    ) as told:
        planned(tmp_path / "run", "ckpt_path=last", *ALONE)
    assert f"in {tmp_path}. Name the file: ckpt_path=" in str(told.value)
    assert files(tmp_path) == []


def test_last__goes_on_and_is_saved_as_a_file() -> None:
    tiny_run(Path("outputs/day/1"), *ALONE, "trainer.max_steps=4")
    tiny_run(Path("outputs/day/2"), *ALONE, "trainer.max_steps=8", "ckpt_path=last")
    assert [row["epoch"] for row in rows(Path("outputs/day/2"), "student")] == ["2", "3"]
    assert "ckpt_path: outputs/day/1/checkpoints/student/last.ckpt\n" in Path("outputs/day/2/config.yaml").read_text()


def test_resume__goes_on_from_its_own_checkpoint_not_from_ckpt_path_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_run(Path("outputs/day/1"), *ALONE, "trainer.max_steps=4")
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["lightning_distill.pipeline.run"], "_write", stop)
        with pytest.raises(KeyboardInterrupt):
            tiny_run(Path("outputs/day/2"), *ALONE, "trainer.max_steps=8", "ckpt_path=last")
    csv = Path("outputs/day/2/student.csv").resolve()
    before = csv.read_text()
    run(planned(csv.parent, f"resume={csv.parent}"))
    assert csv.read_text() == before


def stop(*_: object) -> None:
    raise KeyboardInterrupt
