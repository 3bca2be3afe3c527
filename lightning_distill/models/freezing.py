"""Keep part of a network as it is."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn


def freeze(model: nn.Module, paths: Sequence[str]) -> list[nn.Module]:
    """Freeze parts of ``model``: their parameters get no gradient.

    BatchNorm's statistics move in train mode all the same: whoever trains the network puts the returned modules into
    eval mode, which also switches their dropout off. A distiller does so at the start of every epoch.

    Args:
        model: Any network.
        paths: Of modules (``"layer1"``, with everything below it) or parameters (``"pos_embed"``), or globs of them, in
            which ``*`` stands for any text: ``"layer*"``, ``"*.bn1"``.

    Returns:
        The frozen modules.

    Raises:
        TypeError: If ``paths`` is a single string.
        ValueError: If a path fits nothing; the message lists the nearest.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 1))
        >>> len(freeze(model, ["0", "1"]))
        2
        >>> [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        ['2.weight', '2.bias']
    """
    if isinstance(paths, str):
        raise TypeError(f"Expected `freeze` to be a list of module paths, but got a string. Write [{paths!r}].")
    if not isinstance(paths, Sequence) or not all(isinstance(path, str) for path in paths):
        raise TypeError(f"Expected `freeze` to be a list of module paths, but got {paths!r}.")
    modules = {name: module for name, module in model.named_modules(remove_duplicate=False) if name}
    parameters = dict(model.named_parameters(remove_duplicate=False))
    frozen: dict[str, nn.Module] = {}
    for path in paths:
        fits = [name for name in (*modules, *parameters) if fnmatchcase(name, path)]
        if not fits:
            raise ValueError(_nothing(model, path, [*modules, *parameters]))
        for name in fits:
            if name in modules:
                frozen[name] = modules[name].requires_grad_(False)
            else:
                parameters[name].requires_grad_(False)
    return list(frozen.values())


def _nothing(model: nn.Module, path: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(path, names, n=4, cutoff=0.5) or list(names[:4])
    return (
        f"Expected `freeze` to hold paths of modules or parameters of {type(model).__name__}, or globs of them, but "
        f"{path!r} fits none. The nearest are {', '.join(map(repr, near))}; `model.named_modules()` lists them all."
    )
