"""What version 1 wrote stays readable: the files in tests/data/v1 are never made anew.

They are of ``python train.py debug=fast trainer=cpu teacher=cached teacher.cache.view=clean data.train_samples=50
trainer.max_steps=2 report=false export=null hydra.run.dir=v1``, without what is large.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_distill import Distiller
from lightning_distill.cli import evaluate
from lightning_distill.models import ConvNet, SmallConvNet
from lightning_distill.report import RunFolder
from lightning_distill.report.settings import read_runs
from lightning_distill.teachers.store import TeacherStore
from lightning_distill.weights import load_weights
from tests.configs import ROOT, tiny_run

# The files are of Lightning 2.6.6, which older ones say when they read them.
pytestmark = pytest.mark.filterwarnings("ignore:The loaded checkpoint was produced with Lightning")

V1 = ROOT / "tests" / "data" / "v1"
LAST = V1 / "checkpoints" / "student" / "last.ckpt"
BIAS = -0.49303132  # the sum of the classifier's
SAMPLE, LOGITS = 7, [-0.0022, -0.0435, -0.1594]  # of the store


def test_metrics() -> None:
    metrics = RunFolder(V1).read()
    assert list(metrics) == ["teacher", "baseline", "student", "run"]
    assert metrics["student"]["test/accuracy"] == pytest.approx(0.10)
    (run,) = read_runs([V1])
    assert (run.seed, run.config["alpha"], run.number("student", "parameters")) == (0, 0.1, 1466)


def test_weights() -> None:
    student = SmallConvNet(10)
    load_weights(student, V1 / "student.safetensors")
    assert student.fc.bias.sum().item() == pytest.approx(BIAS, abs=1e-6)


def test_checkpoint__holds_the_same_student() -> None:
    content = torch.load(LAST, weights_only=True)
    assert content["format_version"] == 1
    distiller = Distiller.load_from_checkpoint(
        LAST, student=SmallConvNet(10), teacher=ConvNet(10), weights_only=True, map_location="cpu"
    )
    assert distiller.student.fc.bias.sum().item() == pytest.approx(BIAS, abs=1e-6)


def test_checkpoint__training_goes_on_from_it(tmp_path: Path) -> None:
    tiny_run(
        tmp_path, "teacher=null", "export=null", "data.train_samples=50", "trainer.max_steps=4", f"ckpt_path={LAST}"
    )
    rows = (tmp_path / "student.csv").read_text().splitlines()
    assert [row.split(",")[:2] for row in rows[1:]] == [["2", "3"], ["3", "4"]]


def test_run__is_evaluated(tmp_path: Path) -> None:
    shutil.copytree(V1, tmp_path / "v1")
    found = evaluate.main([f"run={tmp_path / 'v1'}"])
    expected = RunFolder(V1).read()["student"]
    assert found == pytest.approx({name: expected[name] for name in ("test/accuracy", "test/student_loss")}, abs=1e-4)


def test_store() -> None:
    store = TeacherStore(V1 / "answers")
    assert len(store) == 50
    logits = store.fields(torch.tensor([SAMPLE]), 0, ["logits"])["logits"]
    assert logits[0, :3].tolist() == pytest.approx(LOGITS, abs=1e-3)


@pytest.mark.parametrize("version", [2, "1", None])
def test_checkpoint__of_a_newer_version_is_refused(tmp_path: Path, version: Any) -> None:
    content = torch.load(LAST, weights_only=True)
    torch.save(content | {"format_version": version}, tmp_path / "new.ckpt")
    with pytest.raises(ValueError, match="Expected a checkpoint of format_version 1 or below, but got"):
        Distiller.load_from_checkpoint(tmp_path / "new.ckpt", student=SmallConvNet(10), weights_only=True)
