"""The networks of a config: filled in with what the data knows, or taken from a previous run."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from lightning_distill.checks import check_choice
from lightning_distill.config_keys import locate
from lightning_distill.report import RunFolder
from lightning_distill.saved_config import read_config

NETWORKS = ("student", "teacher.model")
ROLES = ("student", "teacher")


def start_afresh(config: DictConfig, overrides: Sequence[str]) -> None:
    """Where a network's ``_target_`` was typed, drop the arguments of the one that it replaces, unless typed as well.

    ``student._target_=my.module.Net +student.depth=3`` then means that network, whatever ``conf/student`` had chosen.

    Args:
        config: Changed in place.
        overrides: What was typed.
    """
    typed = [override.lstrip("+").partition("=")[0] for override in overrides]
    for key in NETWORKS:
        node = OmegaConf.select(config, key)
        if f"{key}._target_" not in typed or not isinstance(node, DictConfig):
            continue
        with open_dict(config):
            for name in [str(name) for name in node if name != "_target_"]:
                if not any(f"{other}.".startswith(f"{key}.{name}.") for other in typed):
                    del node[name]


def fill_arguments(config: DictConfig, facts: Mapping[str, Any]) -> None:
    """Give every network the facts that its constructor names, unless the config says otherwise.

    Args:
        config: Changed in place.
        facts: Values by argument name: ``num_classes``, ``in_channels``, ...
    """
    for key in NETWORKS:
        node = OmegaConf.select(config, key)
        if isinstance(node, DictConfig):
            with open_dict(config):
                _fill(node, key, facts)


def _fill(node: DictConfig, key: str, facts: Mapping[str, Any]) -> None:
    for name, child in node.items():
        if isinstance(child, DictConfig):
            _fill(child, f"{key}.{name!s}", facts)
    if isinstance(node.get("_target_"), str) and "_args_" not in node:
        for name in _named(locate(node["_target_"], key)):
            if name in facts and name not in node:
                node[name] = facts[name]


def _named(target: Any) -> list[str]:
    """The arguments that a class or a function names itself."""
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):  # a builtin that does not tell
        return []
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]


def take_previous_run(config: DictConfig) -> None:
    """Replace ``teacher.run`` by the weights in that folder, and with ``trust_config`` by the network they belong to.

    A run's config names what is imported and called, so it is read only where the user says that it can be trusted.

    Args:
        config: Changed in place: afterwards ``teacher.checkpoint`` and ``teacher.model`` say it all.

    Raises:
        FileNotFoundError: If there is no such run, or it has no such weights.
        ValueError: If ``teacher.checkpoint`` is set as well, or ``teacher.run_role`` is no role.
    """
    teacher = config.get("teacher")
    if not isinstance(teacher, DictConfig) or teacher.get("run") is None:
        return
    if teacher.get("checkpoint") is not None:
        raise ValueError("Expected `teacher.run` or `teacher.checkpoint`, but got both. Leave one of them out.")
    role = teacher.get("run_role", "student")
    check_choice("teacher.run_role", role, ROLES)
    folder = RunFolder(Path(teacher.run))
    weights = folder.weights(role)
    if not weights.is_file():
        raise FileNotFoundError(
            f"Expected `teacher.run` to name the folder of a run whose {role} is trained, but there is no {weights}."
        )
    with open_dict(config):
        if config.get("trust_config"):
            teacher.model = _architecture(folder, role)
        teacher.checkpoint, teacher.run, teacher.run_role = str(weights), None, "student"


def _architecture(folder: RunFolder, role: str) -> DictConfig:
    """The node that built a role's network in a previous run; of two heads, their average is what was deployed."""
    if not folder.config.is_file():
        raise FileNotFoundError(f"Expected `teacher.run` to name the folder of a run, but {folder.path} has no config.")
    saved = read_config(folder.config)
    node = OmegaConf.select(saved, "student" if role == "student" else "teacher.model")
    if not isinstance(node, DictConfig):
        raise ValueError(f"Expected {folder.config} to describe the {role}'s network, but it does not.")
    target = str(OmegaConf.select(saved, "distiller._target_"))
    if role == "student" and target.rpartition(".")[2] == "DeiTDistiller":
        return OmegaConf.create({"_target_": "lightning_distill.distillers.deployable.AveragedHeads", "student": node})
    return node


def weights_of_run(path: Path) -> Path:
    """The student's weights where ``path`` is the folder of a run; ``path`` itself where it is a file."""
    return RunFolder(path).weights("student") if path.is_dir() else path
