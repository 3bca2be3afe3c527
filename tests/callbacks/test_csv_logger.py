"""A file of numbers by step that a resumed run goes on with."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightning_distill.build import build
from lightning_distill.callbacks import ContinuedCSVLogger
from lightning_distill.pipeline import run
from tests.configs import composed, tiny_run
from tests.faults.killing import Events, in_a_fork


def logged(folder: Path, steps: range, **values: float) -> list[str]:
    """The rows after a process has logged these steps."""
    logger = ContinuedCSVLogger(save_dir=folder, name="csv", version="student")
    for step in steps:
        logger.log_metrics({"loss": float(step), **values}, step)
    logger.save()
    return (folder / "csv/student/metrics.csv").read_text().splitlines()


def test_file__goes_on_where_the_run_does(tmp_path: Path) -> None:
    assert logged(tmp_path, range(4)) == ["loss,step", "0.0,0", "1.0,1", "2.0,2", "3.0,3"]
    assert logged(tmp_path, range(2, 4), acc=0.5) == ["acc,loss,step", ",0.0,0", ",1.0,1", "0.5,2.0,2", "0.5,3.0,3"]
    assert logged(tmp_path, range(1)) == ["acc,loss,step", ",0.0,0"]


def test_row__that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    logged(tmp_path, range(3))
    path = tmp_path / "csv/student/metrics.csv"
    path.write_text(path.read_text()[:-4])  # within the last row
    assert logged(tmp_path, range(5, 6)) == ["loss,step", "0.0,0", "1.0,1", "5.0,5"]


@pytest.mark.slow
def test_run__has_the_same_rows_after_a_kill(tmp_path: Path) -> None:
    options = (
        "teacher=null",
        "export=null",
        "checkpoints.every_n_steps=1",
        "logger=csv",
        "trainer.log_every_n_steps=1",
    )
    whole, killed = (tmp_path / name for name in ("whole", "killed"))
    seen = in_a_fork(lambda: tiny_run(whole, *options)).seen
    batches = [place + 1 for place, name in enumerate(seen) if name == "on_train_batch_start"]
    assert in_a_fork(lambda: tiny_run(killed, *options), Events(batches[4])).code < 0
    assert in_a_fork(lambda: run(build(composed(f"resume={killed}"), [f"resume={killed}"]))).code == 0
    rows = [(folder / "csv/student/metrics.csv").read_text() for folder in (whole, killed)]
    assert len(rows[0].splitlines()) == 14
    assert rows[0] == rows[1]
