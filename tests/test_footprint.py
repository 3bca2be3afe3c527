"""A run writes to its folder and to the folders that it was given, and nowhere else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.configs import ROOT, files

# What libraries keep for themselves, where the system wants such things: the fonts that matplotlib has found.
KEPT_BY_LIBRARIES = {"XDG_CACHE_HOME/matplotlib"}


@pytest.mark.slow
def test_run__writes_to_its_folder_and_its_cache_only(tmp_path: Path) -> None:
    """All stages with stored answers, figures, report and export, with every other place to write to in sight."""
    places = {name: tmp_path / name for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "TORCH_HOME", "HF_HOME", "work")}
    for folder in places.values():
        folder.mkdir()
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "VIRTUAL_ENV") if name in os.environ}
    own = {name: str(folder) for name, folder in places.items() if name != "work"}
    command = [sys.executable, str(ROOT / "train.py"), "debug=fast", "trainer=cpu", "teacher=cached"]
    subprocess.run(
        [*command, "hydra.run.dir=run", "teacher_cache=kept", "logger=csv"],
        cwd=places["work"],
        env={**kept, **own, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    found = files(tmp_path)
    assert {name.split("/")[1] for name in found if name.startswith("work/")} == {"run", "kept"}
    others = {"/".join(name.split("/")[:2]) for name in found if not name.startswith("work/")}
    assert others <= KEPT_BY_LIBRARIES
