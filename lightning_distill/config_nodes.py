"""What a node of a config names, built; an error says which key it was."""

from __future__ import annotations

import re
import sysconfig
import traceback
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from lightning_distill.engine import pl

MISCONFIGURED: type[Exception] = getattr(pl.utilities.exceptions, "MisconfigurationException")  # noqa: B009 - re-exported
STANDARD_LIBRARY = sysconfig.get_path("stdlib")


def build_node(config: DictConfig, key: str, kind: type[Any] = object, **given: Any) -> Any:
    """Build what ``_target_`` under ``key`` names.

    Args:
        config: The whole config.
        key: Full path of the node.
        kind: What it has to be.
        given: Arguments that are objects; they are passed on as they are, not copied.

    Raises:
        ValueError: With the full key, if it cannot be built.
        TypeError: If it is something else.
    """
    node = OmegaConf.select(config, key)
    if not isinstance(node, DictConfig) or "_target_" not in node:
        raise ValueError(f"Expected `{key}` to have a `_target_`, but got {node!r}. Set it to null to turn it off.")
    try:
        # As a partial: `instantiate` would copy the objects among the arguments.
        built = instantiate(node, _partial_=True, _convert_="all")
    except InstantiationException as error:
        raise ValueError(_build_error(key, error)) from error
    if not node.get("_partial_", False):
        try:
            built = built(**given)
        except TypeError as error:
            if not _raised_by_call(error) and "got multiple values for" not in str(error):
                if not _raised_by_library(error):
                    raise
                raise ValueError(unfit(key, error)) from error
            # Raised by the call itself: an argument is missing, or given by the class to its base class.
            raise ValueError(f"Could not build `{key}` ({node._target_}): {error}.") from error
        except (ValueError, ModuleNotFoundError, MISCONFIGURED) as error:
            raise ValueError(f"Could not build `{key}`: {error}") from error
        except Exception as error:
            if isinstance(error, RuntimeError) or not _raised_by_library(error):
                raise  # the first: a network that its input does not fit, which is told apart later
            raise ValueError(unfit(key, error)) from error
    if not isinstance(built, kind):
        raise TypeError(f"Expected `{key}` to build a {kind.__name__}, but got a {type(built).__name__}.")
    return built


def _raised_by_call(error: TypeError) -> bool:
    """Whether the call itself failed, here or in Hydra, rather than something inside of what was called."""
    last = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    return last == Path(__file__) or "hydra" in last.parts


def _raised_by_library(error: Exception) -> bool:
    """Whether an installed package, or Python's own, failed over a value: code of one's own keeps its trace."""
    last = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    return "site-packages" in last.parts or last.is_relative_to(STANDARD_LIBRARY)


def unfit(key: str, error: Exception) -> str:
    """The message for a value that a package could not do anything with."""
    return f"Could not build `{key}`: one of its values does not fit ({type(error).__name__}: {error})."


def _build_error(key: str, error: InstantiationException) -> str:
    inner = re.search(r"full_key: (\S+)", str(error))
    full = inner.group(1) if inner else key
    cause = error.__cause__
    return f"Could not build `{full}`: {str(error).splitlines()[0] if cause is None else cause}"


def build_entries(config: DictConfig, key: str, kind: type[Any]) -> list[Any]:
    """Everything under ``key`` that is not null, each built."""
    entries = OmegaConf.select(config, key)
    if entries is None:
        return []
    return [build_node(config, f"{key}.{name}", kind) for name, node in entries.items() if node is not None]
