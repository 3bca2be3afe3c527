"""What `pip install` of the wheel gives: the commands, and the configs that they read."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from lightning_distill.cli.conf import conf_folder
from tests.configs import CONF, ROOT, files


def test_conf_folder__of_a_checkout() -> None:
    assert conf_folder() == CONF


def test_conf_folder__of_a_wheel_comes_first(tmp_path: Path) -> None:
    for place in ("conf", "package/conf"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "train.yaml").touch()
    assert conf_folder(tmp_path / "package") == tmp_path / "package/conf"


def test_conf_folder__that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="Expected the configs in"):
        conf_folder(tmp_path / "package")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment in which the wheel, and nothing of this checkout, is the package."""
    work = tmp_path_factory.mktemp("wheel")
    kept = shutil.ignore_patterns("__pycache__", ".*", "outputs", "multirun", "build", "*.egg-info", "tests")
    shutil.copytree(ROOT, work / "source", ignore=kept)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    # With this checkout on PYTHONPATH, pip would take the package for installed.
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([*pip, "wheel", *options, "-w", str(work), str(work / "source")], check=True, env=clean)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(work / "venv")], check=True)
    (wheel,) = work.glob("*.whl")
    python = work / "venv/bin/python"
    subprocess.run(
        [*pip, "--python", str(python), "install", "--quiet", "--no-deps", str(wheel)], check=True, env=clean
    )
    # What the package needs comes from the environment of this test, after the wheel in the order of import.
    site = next((work / "venv/lib").glob("python*/site-packages"))
    (site / "zz_dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return work / "venv/bin"


def called(command: Path, *arguments: str, folder: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"OMP_NUM_THREADS": "1", "HYDRA_FULL_ERROR": "0"}
    done = subprocess.run([command, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_wheel__trains_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    where = "import lightning_distill; print(lightning_distill.__file__)"
    assert str(installed.parent) in called(installed / "python", "-c", where, folder=tmp_path)
    options = ("debug=fast", "trainer=cpu", "hydra.run.dir=run")
    said = called(installed / "lightning-distill-train", *options, folder=tmp_path)
    assert "Everything is in run" in said.replace(str(tmp_path) + "/", "")
    assert {"config.yaml", "metrics.json", "student.pt2"} <= set(files(tmp_path / "run"))
    assert "lightning-distill-train debug=fast" in (tmp_path / "run/metrics.json").read_text()
    assert "How it was made" in (tmp_path / "run/report.html").read_text()
    assert "equal" in called(installed / "lightning-distill-evaluate", "run=run", folder=tmp_path)
    called(installed / "lightning-distill-export", "run=run", "to=student.onnx", folder=tmp_path)
    called(installed / "lightning-distill-report", "run", folder=tmp_path)
    assert {"student.onnx", "run/verdict.html"} <= set(files(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("command", ["train", "evaluate", "export", "report"])
def test_wheel__help_is_short_and_useful(installed: Path, tmp_path: Path, command: str) -> None:
    said = called(installed / f"lightning-distill-{command}", "--help", folder=tmp_path)
    assert 5 < len(said.splitlines()) < 60
    assert max(map(len, said.splitlines())) <= 120 or command == "train"
    assert files(tmp_path) == []
