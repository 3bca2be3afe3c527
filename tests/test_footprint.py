"""All commands write to their folders and to those that they were given, as the umask says, and nowhere else."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.configs import ROOT, files

# What libraries keep for themselves, where the system wants such things: the fonts that matplotlib has found.
KEPT_BY_LIBRARIES = {"XDG_CACHE_HOME/matplotlib"}
# All stages with stored answers, figures, report and export; every command about the run; and a sweep.
COMMANDS = """
import os, sys
umask, commands = sys.argv[1:]
os.umask(int(umask, 8))
from lightning_distill.cli import evaluate, export, report, train

def call(command, *arguments):
    sys.argv = ["command", *arguments]
    assert command.cli() == 0, arguments

tiny = ("debug=fast", "trainer=cpu", "callbacks.progress_bar=null")
call(train, *tiny, "teacher=cached", "hydra.run.dir=run", "teacher_cache=kept", "logger=csv")
if commands == "train":
    sys.exit()
call(evaluate, "run=run", "to=out/numbers.json")
call(export, "run=run", "to=out/student.safetensors")
call(export, "run=run", "to=out/small.onnx", "int8=true", "calibration_samples=50")
call(report, "run")
call(train, "-m", *tiny, "seed=0,1", "baseline=false", "report=false", "export=null", "hydra.sweep.dir=sweep",
     "teacher_cache=kept")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("umask", "commands", "folders"),
    [(0o027, "all", {"run", "kept", "out", "sweep"}), (0o077, "train", {"run", "kept"})],
)
def test_commands__write_to_their_folders_only_and_follow_the_umask(
    umask: int, commands: str, folders: set[str], tmp_path: Path
) -> None:
    places = {name: tmp_path / name for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "TORCH_HOME", "HF_HOME", "work")}
    for folder in places.values():
        folder.mkdir()
    kept = {name: os.environ[name] for name in ("PATH", "VIRTUAL_ENV") if name in os.environ}
    own = {name: str(folder) for name, folder in places.items() if name != "work"}
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, oct(umask), commands],
        cwd=places["work"],
        env={**kept, **own, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = [path for path in tmp_path.rglob("*") if path not in places.values()]
    names = {path.relative_to(tmp_path).as_posix() for path in found}
    assert {name for name in names if name.count("/") == 1 and name.startswith("work/")} == {
        f"work/{name}" for name in folders
    }
    # Empty folders that libraries make at their import are left alone.
    others = {name for name in files(tmp_path) if not name.startswith("work/")}
    assert {"/".join(name.split("/")[:2]) for name in others} <= KEPT_BY_LIBRARIES
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in found if not path.is_symlink()}
    wrong = {path.relative_to(tmp_path): oct(mode) for path, mode in modes.items() if mode & umask}
    assert not wrong
    # Nor are files more private than they should be, which would keep a group from reading them.
    strict = {path: mode for path, mode in modes.items() if mode != (0o777 if path.is_dir() else 0o666) & ~umask}
    assert not strict
    assert len(modes) > 40
