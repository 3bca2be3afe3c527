"""Whole runs with the engines that need CUDA; tests/test_train.py has the same ones on a CPU where they can be."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lightning_distill.pipeline.stage import read_state
from tests.configs import files
from tests.launching import SCRIPT, SHORT, environment

DEVICES = torch.cuda.device_count()
SHARDED = ("fsdp", "fsdp2", "deepspeed")

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(DEVICES == 0, reason="needs a CUDA device"),
]


def engine(name: str, devices: int, *options: str) -> Any:
    marks = [pytest.mark.skipif(devices > DEVICES, reason=f"needs {devices} CUDA devices")]
    if name == "deepspeed":
        marks.append(pytest.mark.skipif(find_spec("deepspeed") is None, reason="needs deepspeed"))
    arguments = [f"trainer={name}", f"trainer.devices={devices}", *options]
    return pytest.param(arguments, marks=marks, id=" ".join(arguments))


@pytest.mark.parametrize(
    "arguments",
    [
        engine("gpu", 1, "trainer.precision=16-mixed"),
        engine("gpu", 1, "trainer.precision=bf16-mixed", "distiller.compile=true"),
        engine("ddp", 2),
        *(engine(name, devices) for name in SHARDED for devices in (1, 2)),
        engine("fsdp", 2, "trainer.strategy.state_dict_type=full", "trainer.precision=bf16-mixed"),
        engine("fsdp2", 2, "+trainer.strategy.save_distributed_checkpoint=true"),
    ],
)
def test_script__every_stage(arguments: list[str], tmp_path: Path) -> None:
    """The same files as on a CPU; what is deployed are the best epoch's weights, whole and finite."""
    run = tmp_path / "run"
    command = [sys.executable, SCRIPT, *arguments, *SHORT, "hydra.run.dir=run"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert files(tmp_path) == [f"run/{name}" for name in files(run)]
    metrics = json.loads((run / "metrics.json").read_text())
    devices = int(arguments[1].partition("=")[2])
    assert metrics["run"]["test_samples"] == 100 * devices  # two batches of 50 in each process
    for role in ("teacher", "baseline", "student"):
        best, weights = read_state(run / f"checkpoints/{role}/best.ckpt"), load_file(run / f"{role}.safetensors")
        for name, value in weights.items():
            assert value.dtype in (torch.float32, torch.int64)  # counts of batches
            assert bool(value.isfinite().all())
            torch.testing.assert_close(value, best[f"student.{name}"].to(value.dtype), rtol=0, atol=0)


@pytest.mark.parametrize("arguments", [engine(name, 1) for name in SHARDED])
def test_script__resumed_when_the_student_is_half_trained(arguments: list[str], tmp_path: Path) -> None:
    """The run goes on from the checkpoint of its engine, and refuses nothing that it wrote itself."""
    command = [sys.executable, SCRIPT]
    options = [*arguments, *SHORT, "teacher=null", "trainer.max_steps=3", "hydra.run.dir=run"]
    subprocess.run([*command, *options], cwd=tmp_path, env=environment(), check=True, stdout=subprocess.DEVNULL)
    last = tmp_path / "run/checkpoints/student/last.ckpt"
    options = [*arguments, *SHORT, "teacher=null", f"ckpt_path={last}", "hydra.run.dir=more"]
    done = subprocess.run([*command, *options], cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "more/student.csv").open() as file:
        steps = [int(row["step"]) for row in csv.DictReader(file)]
    assert steps[-1] == 6  # of 3 more
    assert steps[0] > 3
