"""What importing does, and what is public."""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib.metadata import version

import pytest

import lightning_distill

SUB_PACKAGES = ("losses", "distillers", "teachers", "data", "models", "callbacks", "report", "pipeline")


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_losses_do_not_import_lightning() -> None:
    assert run("import sys, lightning_distill.losses; print('pytorch_lightning' in sys.modules)") == "False"


def test_import_changes_nothing() -> None:
    code = (
        "import os, torch; torch.manual_seed(0); random = torch.get_rng_state();"
        "before = torch.get_num_threads(), dict(os.environ);"
        "import lightning_distill.losses;"
        "print(torch.equal(random, torch.get_rng_state()), before == (torch.get_num_threads(), dict(os.environ)))"
    )
    assert run(code) == "True True"


@pytest.mark.parametrize("name", ["", *SUB_PACKAGES])
def test_public_names_exist(name: str) -> None:
    module = importlib.import_module(f"lightning_distill.{name}".rstrip("."))
    for public in module.__all__:
        assert getattr(module, public) is not None


def test_version_is_the_installed_one() -> None:
    assert lightning_distill.__version__ == version("lightning-distill")


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Distillers'"):
        _ = lightning_distill.Distillers
