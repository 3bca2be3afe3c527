"""The script: one message for a mistake, an exit code for Ctrl-C, a number for a sweep."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig
from safetensors.torch import load_file

from lightning_distill.cli import train
from lightning_distill.cli.conf import typed
from lightning_distill.pipeline.stage import read_state
from tests.configs import CONF, ROOT, TINY, composed, files


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder of its own, and a Hydra that was not started yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    GlobalHydra.instance().clear()


def called(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", [str(ROOT / "train.py"), *arguments])
    return train.cli()


def test_main__returns_what_a_sweep_maximises(tmp_path: Path) -> None:
    config = composed(*TINY, "baseline=false", "export=null", f"output_dir={tmp_path / 'run'}")
    best = train.main(config)
    assert best == json.loads((tmp_path / "run/metrics.json").read_text())["student"]["val/accuracy"]


def test_cli__runs_in_its_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert called(monkeypatch, *TINY, "teacher=null", "export=null", "hydra.run.dir=run") == 0
    assert {"config.yaml", "metrics.json", "student.safetensors"} <= set(files(tmp_path / "run"))
    assert not any(name.startswith(".hydra") or name.endswith(".log") for name in files(tmp_path))


def test_cli__sweeps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    options = (*TINY, "teacher=null", "export=null", "hydra.sweep.dir=sweep", "hydra/hydra_logging=none")
    assert called(monkeypatch, "-m", *options, "seed=0,1", "alpha=0.1,0.5") == 0
    runs = [json.loads(path.read_text())["run"] for path in sorted((tmp_path / "sweep").glob("*/metrics.json"))]
    assert [(run["seed"], run["alpha"]) for run in runs] == [(0, 0.1), (0, 0.5), (1, 0.1), (1, 0.5)]
    assert "alpha=0.1,0.5" in runs[0]["command"]
    verdict = json.loads((tmp_path / "sweep/verdict.json").read_text())
    assert [(setting["label"], setting["seeds"]) for setting in verdict["settings"]] == [
        ("alpha=0.1", [0, 1]),
        ("alpha=0.5", [0, 1]),
    ]


@pytest.mark.slow
def test_script__searches_with_optuna(tmp_path: Path) -> None:
    # A process of its own: optuna 2 brings warnings of its dependencies.
    options = (*TINY, "sweep=optuna", "teacher=null", "hydra.sweep.dir=sweep", "hydra.sweeper.n_trials=2")
    command = [sys.executable, str(ROOT / "train.py"), "-m", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    settings = json.loads((tmp_path / "sweep/verdict.json").read_text())["settings"]
    assert [setting["seeds"] for setting in settings] == [[100], [100]]
    assert settings[0]["label"] != settings[1]["label"]


def test_cli__sweep_with_several_processes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("-m", "seed=0,1", "trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu", "teacher=null")
    assert called(monkeypatch, *options, "callbacks.progress_bar=null", "hydra/hydra_logging=none") == 1
    assert "Expected `trainer.devices` to be 1 in a sweep, but got 2 processes." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("alpa=0.5", "error: Unknown config key `alpa`. Did you mean `alpha`?"),
        ("loss=kdd", "Did you mean loss=kd?"),
        ("+alpa=0.5", "error: Unknown config key `alpa`. Did you mean `alpha`?"),
        ("alpha=2", "error: Could not build `distiller`: Expected `alpha` to be in [0, 1], but got 2."),
        ("teacher.checkpoint=nowhere.pt", "error: Expected a checkpoint at nowhere.pt, but there is no such file."),
        ("resume=nowhere", "error: Expected `resume` to name the folder of a run, but nowhere has no config.yaml."),
    ],
)
def test_cli__answers_a_mistake_in_one_message(
    argument: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert called(monkeypatch, "trainer=cpu", "callbacks.progress_bar=null", argument) == 1
    printed = capsys.readouterr().err
    assert said in printed
    assert "Traceback" not in printed
    assert files(tmp_path) == []


def test_cli__faults_keep_their_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ValueError("a fault further down")

    monkeypatch.setattr(train, "main", broken)
    with pytest.raises(ValueError, match="a fault further down"):
        called(monkeypatch)


def test_cli__details_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(ValueError, match="Unknown config key"):
        called(monkeypatch, "+alpa=1")


def test_cli__ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "main", interrupted)
    assert called(monkeypatch) == 130


def test_typed__null_turns_a_group_off() -> None:
    assert typed(["teacher=null", "logger=null", "alpha=0.5", "ckpt_path=null"], CONF) == [
        "~teacher",
        "alpha=0.5",
        "ckpt_path=null",
    ]
    assert isinstance(composed("teacher=null"), DictConfig)


@pytest.mark.slow
def test_script__ctrl_c_and_resume(tmp_path: Path) -> None:
    """The real thing: a process, a signal, and a second process that goes on."""
    command = [sys.executable, str(ROOT / "train.py")]
    options = ["trainer=cpu", "teacher=null", "export=null", "hydra.run.dir=run", "trainer.max_epochs=300"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with (tmp_path / "output.txt").open("w") as output:
        process = subprocess.Popen([*command, *options], cwd=tmp_path, env=environment, stdout=output)
    csv = tmp_path / "run/student.csv"
    while process.poll() is None and not csv.exists():
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert "Go on with: python train.py resume=" in (tmp_path / "output.txt").read_text()
    rows = len(csv.read_text().splitlines())
    assert rows < 301
    subprocess.run([*command, "resume=run"], cwd=tmp_path, env=environment, check=True, stdout=subprocess.DEVNULL)
    assert len(csv.read_text().splitlines()) == 301


@pytest.mark.slow
@pytest.mark.parametrize(
    "engine",
    [
        "ddp",
        "fsdp trainer.strategy._target_=tests.distillers.cpu_fsdp.CpuFSDP",
        "fsdp2",
        "fsdp2 +trainer.strategy.save_distributed_checkpoint=true",
        pytest.param(
            "ddp ~trainer.strategy +trainer.strategy._target_=tests.distillers.cpu_deepspeed.CpuDeepSpeed "
            "+trainer.strategy.stage=2",
            marks=pytest.mark.skipif(find_spec("deepspeed") is None, reason="needs deepspeed"),
            id="deepspeed",
        ),
    ],
)
def test_script__two_processes(engine: str, tmp_path: Path) -> None:
    """Every stage with two processes: the same files, each test sample counted once, the best epoch's whole weights."""
    options = [
        *f"trainer={engine}".split(),
        "trainer.accelerator=cpu",
        "trainer.devices=2",
        "debug=fast",
        "hydra.run.dir=run",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    del environment["HYDRA_FULL_ERROR"]
    command = [sys.executable, str(ROOT / "train.py"), *options]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, stdout=subprocess.DEVNULL)
    assert {"metrics.json", "teacher.safetensors", "baseline.csv", "student.pt2"} <= set(files(tmp_path / "run"))
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["run"]["test_samples"] == 200  # two batches of 50 in each of two processes
    assert files(tmp_path) == [f"run/{name}" for name in files(tmp_path / "run")]
    for role in ("teacher", "baseline", "student"):
        best = tmp_path / f"run/checkpoints/{role}/best.ckpt"
        assert best.is_dir() == ("distributed" in engine or "Deep" in engine)
        best_weights, weights = read_state(best), load_file(tmp_path / f"run/{role}.safetensors")
        assert {f"student.{name}" for name in weights} == {name for name in best_weights if name.startswith("student.")}
        assert all(best_weights[f"student.{name}"].equal(value) for name, value in weights.items())
