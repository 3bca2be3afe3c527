"""Random edits of the config: a run that can be built, or one clear message."""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from lightning_distill.cli.answers import is_answer
from lightning_distill.config_keys import known_keys
from lightning_distill.pipeline.preflight import preflight
from tests.configs import TINY, composed, planned

EDITS = 80
VALUES = ["-1", "0", "1", "2.5", "1e9", "true", "null", "abc", "[1,2]", "{a:1}", "nan", "''", "${seed}", "${nothing}"]


def keys() -> list[str]:
    """Every key that can be typed; the folder and what would make a run long or wait are not edited."""
    from omegaconf import OmegaConf

    config = OmegaConf.to_container(composed(*TINY), resolve=False)
    names = [key for key in known_keys(config) if key and not key.startswith(("output_dir", "hydra"))]  # type: ignore[arg-type]
    return [key for key in names if "_target_" not in key]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_edits__build_or_are_answered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chooser, outcomes, faults = random.Random(0), Counter[str](), []
    names = keys()
    for _ in range(EDITS):
        name, value = chooser.choice(names), chooser.choice(VALUES)
        if chooser.random() < 0.2:  # a slip of the finger
            name = name.replace(chooser.choice(name), "", 1)
        prefix = chooser.choice(["", "++"])
        with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
            try:
                preflight(planned(Path(folder), *TINY, "teacher_cache=null", f"{prefix}{name}={value}"))
                outcomes["built"] += 1
            except (HydraException, OmegaConfBaseException):
                outcomes["refused by Hydra"] += 1
            except Exception as error:
                if is_answer(error):
                    outcomes["answered"] += 1
                else:
                    faults.append(f"{prefix}{name}={value}: {type(error).__name__}: {str(error)[:150]}")
    with capsys.disabled():
        print(f"\n{EDITS} random overrides: {dict(outcomes)}")
    assert faults == []
