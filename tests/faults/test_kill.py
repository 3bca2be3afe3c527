"""``kill -9`` at random points, again and again: the run that goes on equals one that was never killed."""

from __future__ import annotations

import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lightning_distill.build import build
from lightning_distill.pipeline import run
from tests.callbacks import test_mid_epoch as training
from tests.configs import composed, files, tiny_run
from tests.faults.killing import Events, in_a_fork
from tests.test_pipeline import contents as run_contents
from tests.test_pipeline import rows
from tests.test_pipeline_cache import store_of

Tried = Callable[[str, int], None]
KILLS_IN_A_ROW = 4  # of one run, before it may end
CACHED = ("teacher=cached", "teacher.train=null", "baseline=false", "augment=standard", "data.augment.padding=1")
OVERRIDES = ("export=null", "trainer.max_steps=6", "checkpoints.every_n_steps=1")


def fit(folder: Path) -> None:
    """A training with EMA, a schedule, dropout and BatchNorm: from its last checkpoint where there is one."""
    last = folder / "last.ckpt"
    training.fit(folder, "cosine", None, last if last.exists() else None)


def whole_run(folder: Path) -> None:
    """A run with teacher, baseline and student: resumed where it had begun."""
    if (folder / "config.yaml").exists():
        run(build(composed(f"resume={folder}"), [f"resume={folder}"]))
    else:
        tiny_run(folder, *OVERRIDES)


def cached_run(folder: Path) -> None:
    """A run whose student learns from stored answers: the storing comes first, in chunks of a few rows."""
    if (folder / "config.yaml").exists():
        run(build(composed(f"resume={folder}"), [f"resume={folder}"]))
    else:
        tiny_run(folder, *OVERRIDES, *CACHED)


def cached_contents(folder: Path) -> dict[str, Any]:
    """The student and its history, and every byte of the store."""
    history = [row | {"seconds": ""} for row in rows(folder, "student")]
    kept = {path.name: path.read_bytes() for path in sorted(store_of(folder).iterdir())}
    return kept | {"rows": history, "weights": (folder / "student.safetensors").read_bytes()}


def survives(
    tmp_path: Path, work: Callable[[Path], object], contents: Callable[[Path], Any], kills: int, seed: int
) -> int:
    """Kill and go on, and compare with an uninterrupted run. Returns how many kills it took."""
    ending = in_a_fork(lambda: work(tmp_path / "whole"))
    assert ending.code == 0
    expected = contents(tmp_path / "whole"), files(tmp_path / "whole")
    chooser, done, round_ = random.Random(seed), 0, 0
    while done < kills:
        folder = tmp_path / f"killed{round_}"
        folder.mkdir()
        round_ += 1
        for _ in range(min(KILLS_IN_A_ROW, kills - done)):
            kill = Events(chooser.randint(1, len(ending.seen) // 2))
            code = in_a_fork(lambda folder=folder: work(folder), kill).code  # type: ignore[misc]
            assert code in (-signal.SIGKILL, 0)  # 0: less was left to do than the chosen count
            done += code == -signal.SIGKILL
        assert in_a_fork(lambda folder=folder: work(folder)).code == 0  # type: ignore[misc]
        assert (contents(folder), files(folder)) == expected
    return done


@pytest.mark.slow
def test_training__survives_kills(tmp_path: Path, request: pytest.FixtureRequest, tried: Tried) -> None:
    kills = request.config.getoption("--kill-points")
    done = survives(tmp_path, fit, training.contents, kills, seed=0)
    tried("kills", done)
    assert done >= kills


@pytest.mark.slow
def test_run__survives_kills(tmp_path: Path, request: pytest.FixtureRequest, tried: Tried) -> None:
    kills = max(4, request.config.getoption("--kill-points") // 5)
    done = survives(tmp_path, whole_run, run_contents, kills, seed=1)
    tried("kills", done)
    assert done >= kills


@pytest.mark.slow
def test_store__survives_kills(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tried: Tried
) -> None:
    monkeypatch.setattr(sys.modules["lightning_distill.teachers.remember"], "chunk_rows_for", lambda row_bytes: 16)
    kills = max(4, request.config.getoption("--kill-points") // 5)
    done = survives(tmp_path, cached_run, cached_contents, kills, seed=2)
    tried("kills", done)
    assert done >= kills
