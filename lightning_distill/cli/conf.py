"""Where the configs are, and how what is typed is read."""

from __future__ import annotations

from pathlib import Path

from omegaconf import OmegaConf

from lightning_distill.cli.run_folder import run_folder

PACKAGE = Path(__file__).parents[1]
OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)


def conf_folder(package: Path = PACKAGE) -> Path:
    """The folder of configs: a wheel holds it in the package, a checkout beside it.

    Raises:
        FileNotFoundError: If it is in neither place.
    """
    places = (package / "conf", package.parent / "conf")
    for place in places:
        if (place / "train.yaml").is_file():
            return place
    raise FileNotFoundError(
        f"Expected the configs in {places[0]} or {places[1]}, but there is no train.yaml. Install the package again."
    )


def typed(overrides: list[str], conf: Path) -> list[str]:
    """Overrides in Hydra's words: ``~group`` for ``group=null``, which is left out where a group is empty anyway."""
    defaults = OmegaConf.load(conf / "train.yaml").defaults
    chosen = {name: option for entry in defaults if entry != "_self_" for name, option in entry.items()}
    off = {f"{name}=null": name for name in chosen}
    return [f"~{off[o]}" if o in off else o for o in overrides if o not in off or chosen[off[o]] is not None]
