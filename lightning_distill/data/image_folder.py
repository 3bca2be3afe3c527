"""Image files in folders: one folder a split, in it one folder a class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_distill.data.image_module import ImageDataModule
from lightning_distill.data.images import ImageFiles, ImageSource
from lightning_distill.data.labels import NO_LABEL

ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif")
VAL_NAMES = ("val", "valid", "validation")


class ImageFolderDataModule(ImageDataModule):
    """``root/train/<class>/*.png``, and the same for ``val`` and ``test``.

    A split whose folder is not there is taken from the training images, each class in its share. A training folder that
    holds images instead of class folders, and the folder ``transfer``, give images without a label (target -100): the
    student learns them from the teacher alone. Ids count the training images in the order of their paths, then those of
    the other splits.

    Args:
        root: The folder of the splits.
        train: Name of the training folder.
        val: Of the validation folder; ``None`` to take the images from training. ``valid`` and ``validation`` are
            found, too.
        test: Of the test folder; ``None`` likewise. ImageNet's ``val`` is a test split: ``val=None, test="val"``.
        transfer: A folder of further training images without labels, by its path or by its name in ``root``.
        options: Of :class:`~lightning_distill.data.image_module.ImageDataModule`.

    Raises:
        FileNotFoundError: If a folder is not there.
        ValueError: If a folder is empty, there is only one class, or splits differ in their classes.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        train: str = "train",
        val: str | None = "val",
        test: str | None = "test",
        transfer: str | Path | None = None,
        **options: Any,
    ) -> None:
        folder = Path(root).expanduser()
        found = {"train": folder / train} | _existing(folder, {"val": val, "test": test})
        if not found["train"].is_dir():
            names = sorted(path.name for path in folder.iterdir())[:8] if folder.is_dir() else None
            inside = "is not there" if names is None else f"has: {', '.join(names) or 'nothing'}"
            raise FileNotFoundError(
                f"Expected `root` to hold the folder {train!r} with one folder of images for each class, but "
                f"{folder.absolute()} {inside}. Set `root` or `train`."
            )
        files = {name: files_by_class(path) for name, path in found.items()}
        classes = _classes(files, found)
        splits = {name: _labelled(by_class, classes) for name, by_class in files.items()}
        if transfer is not None:
            extra = _transfer_files(folder, transfer)
            paths, target = splits["train"]
            splits["train"] = paths + extra, torch.cat([target, torch.full((len(extra),), NO_LABEL)])
        sources: dict[str, tuple[ImageSource, Tensor]] = {
            name: (ImageFiles(paths, folder), target) for name, (paths, target) in splits.items()
        }
        super().__init__(sources, num_classes=len(classes), class_names=classes, **options)
        self.root = str(root)


def files_by_class(folder: Path) -> dict[str | None, list[Path]]:
    """Image files by the name of their class folder; under ``None`` where they lie in ``folder`` itself.

    Raises:
        ValueError: If there are none.
    """
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    classes: dict[str | None, list[Path]] = {path.name: image_files(path) for path in entries if path.is_dir()}
    plain = [path for path in entries if path.is_file() and path.suffix.lower() in ENDINGS]
    if plain and any(classes.values()):
        raise ValueError(
            f"Expected {folder} to hold class folders or images, but got both: {plain[0].name} lies beside the folder "
            f"{next(name for name, files in classes.items() if files)!r}. Move one of them."
        )
    if not plain and not any(classes.values()):
        raise ValueError(
            f"Expected {folder} to hold images ({', '.join(ENDINGS)}), one folder for each class, but found none."
        )
    return {None: plain} if plain else classes


def image_files(folder: Path) -> list[Path]:
    """Every image file below ``folder``, in the order of their paths."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())


def _existing(folder: Path, names: dict[str, str | None]) -> dict[str, Path]:
    """The folders of the splits that are there; a default name may be missing, another may not."""
    found = {}
    for split, name in names.items():
        if name is None:
            continue
        spellings = VAL_NAMES if name == "val" else (name,)
        path = next((folder / spelling for spelling in spellings if (folder / spelling).is_dir()), None)
        if path is not None:
            found[split] = path
        elif name != split:
            raise FileNotFoundError(f"Expected `{split}` to name a folder in {folder.absolute()}, but got {name!r}.")
    return found


def _classes(files: dict[str, dict[str | None, list[Path]]], folders: dict[str, Path]) -> list[str]:
    """Names of the classes, in order; all labelled splits have to agree."""
    labelled = {name: by_class for name, by_class in files.items() if None not in by_class}
    for name in ("val", "test"):
        if name in files and name not in labelled:
            raise ValueError(
                f"Expected {folders[name]} to hold one folder of images for each class, but got images alone. "
                f"Set `{name}` to null to take this split from the training images."
            )
    if not labelled:
        raise ValueError(
            f"Expected {folders['train']} to hold one folder of images for each class, but got images alone. Images "
            "without labels need a `val` folder with classes, or go into `transfer` beside labelled ones."
        )
    first, names = next((split, sorted(map(str, by_class))) for split, by_class in labelled.items())
    if len(names) < 2:
        raise ValueError(f"Expected at least two class folders in {folders[first]}, but got only {names[0]!r}.")
    empty = [name for name, paths in labelled.get("train", {}).items() if not paths]
    if empty:
        raise ValueError(
            f"Expected every class folder of {folders['train']} to hold images, but {', '.join(map(repr, empty))} "
            "does not. Fill it or remove it."
        )
    for split, by_class in labelled.items():
        extra, lacking = sorted(set(map(str, by_class)) - set(names)), sorted(set(names) - set(map(str, by_class)))
        if extra or lacking:
            what = [f"has {', '.join(extra)} as well"] * bool(extra) + [f"lacks {', '.join(lacking)}"] * bool(lacking)
            raise ValueError(
                f"Expected {folders[split]} to have the class folders of {folders[first]}, but it "
                f"{' and '.join(what)}. A class without images there needs an empty folder."
            )
    return names


def _labelled(by_class: dict[str | None, list[Path]], classes: list[str]) -> tuple[list[Path], Tensor]:
    paths = [path for name in by_class for path in by_class[name]]
    labels = [NO_LABEL if name is None else classes.index(name) for name in by_class for _ in by_class[name]]
    return paths, torch.tensor(labels, dtype=torch.long)


def _transfer_files(root: Path, transfer: str | Path) -> list[Path]:
    named = Path(transfer).expanduser()
    folder = next((path for path in (root / named, named) if path.is_dir()), None)
    files = [] if folder is None else image_files(folder)
    if not files:
        raise FileNotFoundError(
            f"Expected `transfer` to name a folder with images, but found none in {root / named} or {named.absolute()}."
        )
    return files
