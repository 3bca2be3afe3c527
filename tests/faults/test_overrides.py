"""Whatever is typed: a run that can be built, or one clear message, never a trace from deep inside."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lightning_distill.cli.answers import MISTAKES, is_answer, raised_in_hydra
from lightning_distill.config_keys import known_keys
from lightning_distill.explain import explain
from lightning_distill.pipeline.preflight import preflight
from tests.configs import CONF, TINY, composed, planned

EXAMPLES = 80  # with --kill-points 200, ten times as many
VALUES = (
    *("-1", "0", "1", "2", "2.5", "1e9", "1e-300", "true", "null", "abc", "nan", "inf", "''", "???", "-", "."),
    *("[1,2]", "[]", "{a:1}", "{}", "{_target_:torch.nn.Linear}", "[abc,null]", "0x10", "1_000", "5%"),
    *("${seed}", "${nothing}", "${student}", "${hydra:job.name}", "'a b'", "é", "torch.nn.Linear", "1,2", "[1", "a=b"),
)
GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name not in ("hydra", "sweep"))
LONG = ("experiment", "data")  # groups whose choices load large networks, or files that are not there


def options() -> list[str]:
    """Choices of groups: real ones, and what people mistake for one."""
    found = [f"{g}={path.stem}" for g in GROUPS if g not in LONG for path in (CONF / g).glob("*.yaml")]
    slips = [
        "{}",
        "{}=",
        "~{}",
        "+{}=kd",
        "~{}=kd",
        "{}=nothing",
        "{}=null",
        "{}=[a,b]",
        "{}@x=kd",
        "++{}=1",
        "{}/x=kd",
    ]
    return [o for o in found if "timm" not in o and "ddp" not in o] + [slip.format(g) for g in GROUPS for slip in slips]


def keys() -> list[str]:
    """Every key that can be typed; the folder of the run is not edited."""
    config = OmegaConf.to_container(composed(*TINY), resolve=False)
    names = [key for key in known_keys(config) if key and not key.startswith(("output_dir", "hydra"))]  # type: ignore[arg-type]
    return [key for key in names if "_target_" not in key]


@st.composite
def overrides(draw: st.DrawFn, names: list[str]) -> str:
    """One argument: a key with some value, a choice of a group, or a slip of the finger in either."""
    if draw(st.integers(0, 3)) == 0:
        typed = draw(st.sampled_from(options()))
    else:
        prefix = draw(st.sampled_from(["", "", "++", "+", "~"]))
        typed = f"{prefix}{draw(st.sampled_from(names))}={draw(st.sampled_from(VALUES))}"
    if draw(st.integers(0, 4)) == 0:
        at = draw(st.integers(0, len(typed) - 1))
        put = draw(st.sampled_from(["", "=", ".", "[", "}", " ", "'", '"', "x", "$", "@", ",", "\\", ":"]))
        typed = typed[:at] + put + typed[at + draw(st.integers(0, 1)) :]
    return typed


def clear(error: Exception) -> bool:
    """Whether a message is one of ours, or OmegaConf's: it names an argument, not what Python could not do."""
    starts = ("Expected ", "Could not ", "Unknown config key", "Leave ")
    return isinstance(error, OmegaConfBaseException) or str(error).startswith(starts)


def outcome(folder: Path, typed: list[str]) -> str:
    """What comes of it, in a word, or the fault."""
    try:
        preflight(planned(folder, *TINY, "teacher_cache=null", *typed))
    except HydraException as error:
        GlobalHydra.instance().clear()
        said = explain(error, [*TINY, *typed], CONF)
        return "refused by Hydra" if said.strip() and "Traceback" not in said else f"no message for {error!r}"
    except Exception as error:
        answered = isinstance(error, MISTAKES) and is_answer(error) and (raised_in_hydra(error) or clear(error))
        return "answered" if answered else f"{type(error).__name__}: {str(error)[:200]}"
    return "built"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_arguments__build_or_are_answered(
    tmp_path: Path, request: pytest.FixtureRequest, tried: Callable[[str, int], None]
) -> None:
    outcomes, names = Counter[str](), keys()
    examples = EXAMPLES if request.config.getoption("--kill-points") < 200 else 10 * EXAMPLES

    @settings(
        derandomize=True,
        database=None,
        deadline=None,
        max_examples=examples,
        phases=[Phase.generate],  # what fails is short as it is, and making it shorter takes minutes
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(overrides(names), min_size=1, max_size=3))
    def try_one(typed: list[str]) -> None:
        with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
            found = outcome(Path(folder), typed)
        outcomes[found] += 1
        assert found in ("built", "answered", "refused by Hydra"), f"{' '.join(typed)}: {found}"

    try_one()
    tried("overrides", outcomes.total())
    assert min(outcomes["built"], outcomes["answered"], outcomes["refused by Hydra"]) > examples // 20
