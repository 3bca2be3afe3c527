"""``python train.py`` killed by the clock, and started again by ``resume=``: the same files, the same bits."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.configs import files
from tests.faults.script import Script, check_whole, differences, everything

# Teacher, baseline and student, with all that has a state of its own: an average of the weights, a schedule, the loss's
# memory of every sample, random views, and worker processes that are ahead of what has been trained on.
OPTIONS = (
    *("debug=fast", "trainer=cpu", "callbacks=ema", "callbacks.progress_bar=null", "hydra.run.dir=run"),
    *("checkpoints.every_n_steps=1", "+data.workers=2", "augment=standard", "data.augment.padding=1"),
    *("+terms@distiller.terms.crd=crd", "distiller.terms.crd.loss.negatives=16"),
    *("report=false", "export=null"),
)
KILLS_IN_A_ROW = 3  # of one run, before it may end
GRACE = 20  # seconds in which worker processes notice that there is nobody to work for; torch looks every five


@pytest.fixture
def scripts(tmp_path: Path) -> Iterator[Callable[[str], Script]]:
    """Makes scripts in folders of their own; whatever they have started is gone in the end."""
    made: list[Script] = []

    def make(name: str) -> Script:
        made.append(Script(tmp_path / name))
        return made[-1]

    yield make
    deadline = time.monotonic() + GRACE
    while any(script.orphans() for script in made) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert [script.orphans() for script in made if script.orphans()] == []


def again(script: Script) -> tuple[str, ...]:
    """What to type: the same once more where the run had not begun."""
    return ("resume=run",) if (script.run / "config.yaml").exists() else OPTIONS


def killed(script: Script, kills: int, chooser: random.Random, whole: float) -> int:
    """Kill one run at most so many times, with its workers or without. Returns how often it was."""
    for done in range(kills):
        code = script.end_after(chooser.uniform(0.3, 1) * whole, chooser.random() < 0.6, *again(script))
        assert code in (-signal.SIGKILL, 0), script.output  # 0: it was done before
        if code == 0:
            return done
        check_whole(script.run)
    return kills


@pytest.mark.slow
def test_script__is_killed_and_goes_on(
    scripts: Callable[[str], Script], request: pytest.FixtureRequest, tried: Callable[[str, int], None]
) -> None:
    kills = max(6, request.config.getoption("--kill-points") // 3)
    whole = scripts("whole")
    seconds = whole.finish(*OPTIONS)
    expected, chooser, done, round_ = everything(whole.run), random.Random(0), 0, 0
    while done < kills:
        script = scripts(f"killed{round_}")
        round_ += 1
        done += killed(script, min(KILLS_IN_A_ROW, kills - done), chooser, seconds)
        script.finish(*again(script))
        assert differences(everything(script.run), expected) == []
        assert files(script.run) == files(whole.run)
    tried("kills by the clock", done)


@pytest.mark.slow
def test_resume__of_a_run_that_had_not_begun(scripts: Callable[[str], Script]) -> None:
    script = scripts("early")
    script.run.mkdir()
    process = script.start("resume=run")
    assert process.wait() == 1
    assert "Expected `resume` to name the folder of a run, but run has no config.yaml" in script.output
    assert "Traceback" not in script.output
