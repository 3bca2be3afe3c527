"""What to tell the user when a config cannot be composed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lightning_distill.config_keys import how_to_type, known_keys, unknown_key


def explain(error: Exception, overrides: Sequence[str], folder: Path) -> str:
    """The message for an error that Hydra raised while it composed a config.

    Args:
        error: What it raised.
        overrides: What was typed.
        folder: The folder of configs.
    """
    if isinstance(error, MissingConfigException) and error.options:
        return _unknown_option(error, list(error.options))
    key = re.search(r"Could not (?:override|delete from config\.) '([^'@]+)", str(error))
    if key is None:
        return "\n".join(part for part in (str(error), str(error.__cause__ or "")) if part)
    name, config = key.group(1), _config_without(key.group(1), overrides, folder)
    try:
        known = name in known_keys(config) and how_to_type(name, config) is None
    except ValueError as other:  # another argument names something that cannot be imported
        return str(other)
    if known:
        typed = next((override for override in overrides if override.split("=")[0] == name), name)
        return f"The config key `{name}` exists but is not set so far. Put a plus before it to set it: +{typed}"
    return unknown_key(name, config)


def unread(error: Exception, overrides: Sequence[str]) -> str:
    """The message for an error that Hydra raised over arguments that it could not make sense of.

    Args:
        error: What it raised.
        overrides: What was typed.
    """
    return (
        f"Expected key=value, with the name of an option for a group (trainer=cpu) and null for none, but Hydra could "
        f"not read {' '.join(overrides)}: {error}"
    )


def _unknown_option(error: MissingConfigException, options: list[str]) -> str:
    group, _, option = str(error.missing_cfg_file).rpartition("/")
    near = difflib.get_close_matches(option, options, n=1)
    hint = f" Did you mean {group}={near[0]}?" if near else ""
    return f"Expected `{group}` to be one of {', '.join(options)}, but got {option!r}.{hint}"


def _config_without(key: str, overrides: Sequence[str], folder: Path) -> Mapping[str, object]:
    """The config with what was typed except for ``key``; the default one if that cannot be composed either."""
    others = [o for o in overrides if not o.startswith("-") and o.lstrip("+~").split("=")[0] != key]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(folder.absolute()), version_base="1.3"):
        try:
            config = compose("train", [o for o in others if not o.startswith("hydra")])
        except (HydraException, OmegaConfBaseException, ValueError):  # the last: Hydra's own, of some overrides
            config = compose("train")
    values = OmegaConf.to_container(config, resolve=False)
    return {str(name): value for name, value in values.items()} if isinstance(values, dict) else {}
