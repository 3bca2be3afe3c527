"""A finished run, built again from its folder to be tested or exported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from lightning_distill.build import build, plain_values
from lightning_distill.checks import check_choice
from lightning_distill.cli.conf import conf_folder, typed
from lightning_distill.cli.trust import check_trust
from lightning_distill.pipeline import Plan
from lightning_distill.report import RunFolder
from lightning_distill.saved_config import add_newer_keys, read_config

# What a run was started from and shows while it runs; nothing of it is needed to build its student again.
STARTS = ("ckpt_path", "resume", "student_checkpoint")
UNUSED = (*STARTS, "logger", "callbacks", "teacher_cache")


@dataclass
class Request:
    """A command line: the command's own options, and overrides of the config.

    Attributes:
        options: ``run=``, ``weights=`` and so on.
        overrides: Everything else, as ``train.py`` takes it.
    """

    options: dict[str, str]
    overrides: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, arguments: Sequence[str], own: Sequence[str]) -> Request:
        """Tell the command's own options from overrides.

        Raises:
            ValueError: If an argument is no ``key=value``.
        """
        request = cls({})
        for argument in arguments:
            name, given, value = argument.partition("=")
            if not given or argument.startswith("-"):
                raise ValueError(f"Expected key=value, but got {argument!r}. See --help.")
            if name in own:
                request.options[name] = value
            else:
                request.overrides.append(argument)
        return request

    def flag(self, name: str) -> bool:
        """An option that is true or false; false if it was not typed.

        Raises:
            ValueError: If it is something else.
        """
        value = self.options.get(name, "false").lower()
        check_choice(name, value, ("true", "false"))
        return value == "true"

    def weights(self) -> Path:
        """The file that ``weights=`` names, or the student's weights in the folder that ``run=`` names.

        Raises:
            ValueError: If neither was typed.
        """
        if "weights" in self.options:
            return Path(self.options["weights"])
        if "run" in self.options:
            return RunFolder(Path(self.options["run"])).weights("student")
        raise ValueError("Expected run=FOLDER or weights=FILE, but got neither. See --help.")


def plan_of(request: Request) -> Plan:
    """The plan of the run in ``run=``, or without it of the config that the overrides give.

    Raises:
        FileNotFoundError: If there is no such run.
        ValueError: If its config needs trust, an override is no key of it, or something cannot be built.
    """
    for name in {override.lstrip("+").partition("=")[0] for override in request.overrides} & set(STARTS):
        raise ValueError(
            f"Expected no `{name}`, since nothing is trained here: the student's weights are those of run=FOLDER, or "
            "weights=FILE."
        )
    config = _saved(request) if "run" in request.options else _composed(request.overrides)
    with open_dict(config):
        for name in UNUSED:
            if config.get(name) is not None:
                config[name] = None
        if config.get("teacher") is not None:
            config.teacher.checkpoint, config.teacher.cache_dir = None, None
    return build(config)


def _saved(request: Request) -> DictConfig:
    folder = RunFolder(Path(request.options["run"]))
    if not folder.config.is_file():
        raise FileNotFoundError(f"Expected `run` to name the folder of a run, but {folder.path} has no config.yaml.")
    config = read_config(folder.config)
    plain = plain_values(config, resolve=False)
    check_trust(_needed(plain), str(folder.config), request.flag("trust_config"))
    add_newer_keys(config)
    config.output_dir = str(folder.path)
    for override in request.overrides:
        name, _, value = override.lstrip("+").partition("=")
        try:
            read = OmegaConf.from_dotlist([f"value={value}"]).value
        except (yaml.YAMLError, OmegaConfBaseException) as error:
            raise ValueError(f"Expected `{name}` to have a value that can be read, but got {value!r}.") from error
        OmegaConf.update(config, name, read, force_add=True)
    return config


def _needed(plain: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in plain.items() if name not in UNUSED}


def _composed(overrides: Sequence[str]) -> DictConfig:
    conf = conf_folder()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf), version_base="1.3"):
        return compose("train", [*typed(list(overrides), conf), "output_dir=."])
