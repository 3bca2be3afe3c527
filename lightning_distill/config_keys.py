"""Which keys a config may have: those of the run, and for each ``_target_`` the arguments of what it names."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from torch import nn

from lightning_distill.config_teacher import TEACHER_OPTIONS
from lightning_distill.engine import pl

Node = Mapping[str, Any]

# Scalars and groups at the top; `teacher` and `teacher.train` are no constructor's arguments either.
RUN_KEYS = (
    "output_dir",
    "seed",
    "alpha",
    "temperature",
    "baseline",
    "ckpt_path",
    "student_checkpoint",
    "student_submodule",
    "student_drop_head",
    "trust_config",
    "resume",
    "on_nonfinite",
    "max_skipped",
    "export",
    "report",
    "teacher_cache",
)
GROUPS = (
    "data",
    "student",
    "teacher",
    "distiller",
    "optimizer",
    "scheduler",
    "trainer",
    "callbacks",
    "logger",
    "checkpoints",
)
# Groups whose choices go elsewhere: nothing of this name is in a composed config, but people mean them.
CHOICES = ("augment", "loss", "student_loss", "mixing", "terms", "experiment", "debug", "sweep")
# Groups that are not simply chosen, and keys below something that has to be added first: what to type.
TO_TYPE = {
    "terms": "Every term has a name in the distiller: +terms@distiller.terms.at=at adds conf/terms/at.yaml as `at`.",
    "teacher/cache": "The teacher's answers are not stored so far: +teacher/cache=dense",
    "teacher.cache": "The teacher's answers are not stored so far: +teacher/cache=dense, and then its keys",
}
# Under `teacher`: which weights to load, and whether they say what their images are.
LOADING = ("submodule", "drop_head", "run", "run_role", "preprocessing")
PLAIN_NODES: dict[str, tuple[str, ...]] = {
    "": (*RUN_KEYS, *GROUPS, "checkpoints"),
    "teacher": ("model", "checkpoint", "cache_dir", "seed", "train", "cache", *LOADING, *TEACHER_OPTIONS),
    "teacher.train": ("distiller", "trainer", "callbacks"),
    "teacher.cache": ("view", "epochs", "dtype", "top_k", "folder"),
    "checkpoints": ("every_n_steps", "every_n_seconds"),
}
# A mapping of names that the user chooses, each to something that is built.
NAMED = ("callbacks", "logger", "teacher.train.callbacks")
# Arguments that the run itself passes.
GIVEN = {
    "distiller": ("student", "teacher", "example_input"),
    "teacher.train.distiller": ("student", "teacher", "example_input"),
    "trainer": ("callbacks", "logger", "default_root_dir"),
    "teacher.train.trainer": ("callbacks", "logger", "default_root_dir"),
}
MARKS = ("_target_", "_partial_", "_args_", "_recursive_", "_convert_")
EXTRAS = {
    "timm": "vision",
    "torchvision": "vision",
    "transformers": "hf",
    "onnx": "export",
    "onnxruntime": "export",
    "onnxscript": "export",
}


def check_keys(config: Node) -> None:
    """Raise for the first key that nothing reads.

    Args:
        config: Plain values, interpolations unresolved.

    Raises:
        ValueError: Names the key and the nearest real one, both with their full path.
    """
    _check_nodes(config)
    for path, key, allowed in _keys(config):
        if allowed is None or key in allowed:
            continue
        full = _join(path, key)
        if key in GIVEN.get(path, ()):
            raise ValueError(f"Expected no `{full}`: this argument is passed by the run itself. Leave it out.")
        if full == "data.augment":
            kind = str(_value(config.get("data"), "_target_")).rpartition(".")[2]
            raise ValueError(
                f"Expected no `augment`, since {kind} takes none: it serves no images, or augments them itself. Leave "
                "`augment` out: augment=none"
            )
        raise ValueError(unknown_key(full, config))


def _check_nodes(config: Node) -> None:
    """Raise where a value stands in the place of several keys."""
    for full in (*GROUPS, *PLAIN_NODES):
        value: Any = config
        for name in full.split(".") if full else ():
            value = _value(value, name)
        if not isinstance(value, Mapping) and value is not None and not str(value).startswith("${"):
            raise ValueError(f"Expected `{full}` to hold keys of its own, `{full}.<key>=...`, but got {value!r}.")
    if config.get("checkpoints", {}) is None:
        raise ValueError("Expected `checkpoints` to hold keys of its own, but got null. Its keys may be null.")


def unknown_key(full: str, config: Node) -> str:
    """The message for a key that nothing reads, with the nearest real one.

    Example:
        >>> unknown_key("alpa", {"alpha": 0.1})
        'Unknown config key `alpa`. Did you mean `alpha`?'
    """
    how = how_to_type(full, config)
    if how is not None:
        return how
    near = nearest_key(full, config)
    return f"Unknown config key `{full}`." + (f" Did you mean `{near}`?" if near else "")


def how_to_type(full: str, config: Node) -> str | None:
    """What to type instead of ``full``, where no name that is like it helps.

    Example:
        >>> how_to_type("teacher.cache.view", {"teacher": {"checkpoint": None}})
        "The teacher's answers are not stored so far: +teacher/cache=dense, and then its keys"
    """
    if _value(config.get("teacher"), "cache") is not None and full.startswith("teacher.cache"):
        return None
    return next((said for key, said in TO_TYPE.items() if full == key or full.startswith(f"{key}.")), None)


def nearest_key(full: str, config: Node) -> str | None:
    """The real key that is most like ``full``: a sibling first, then one with a similar last part anywhere."""
    path, _, key = full.rpartition(".")
    known = known_keys(config)
    siblings = [name for name in known if name.rpartition(".")[0] == path]
    for names in (siblings, known):
        last = difflib.get_close_matches(key, {name.rpartition(".")[2] for name in names}, n=1, cutoff=0.6)
        if last:
            found = [name for name in names if name.rpartition(".")[2] == last[0]]
            return max(found, key=lambda name: (difflib.SequenceMatcher(None, full, name).ratio(), -len(name)))
    return next(iter(difflib.get_close_matches(full, known, n=1, cutoff=0.6)), None)


def known_keys(config: Node) -> list[str]:
    """Every key that ``config`` has or could have, with its full path, in rising order."""
    names = set()
    for path, key, allowed in _keys(config):
        if allowed is None or key in allowed:
            names.add(_join(path, key))
        names.update(_join(path, name) for name in allowed or ())
    names.update(PLAIN_NODES[""], CHOICES)
    return sorted(names)


def _keys(node: Node, path: str = "", trainer: Any = None) -> Iterator[tuple[str, str, frozenset[str] | None]]:
    """``(path of the node, key, keys that the node may have or None for any)`` for every key below ``node``."""
    if path == "":
        trainer = _value(node.get("trainer"), "_target_")
    allowed = _allowed(node, path, trainer)
    for key, value in node.items():
        if key in MARKS:
            continue
        yield path, str(key), allowed
        if allowed is None or key in allowed:
            for name, child in _children(_join(path, str(key)), value):
                yield from _keys(child, name, trainer)


def _children(path: str, value: Any) -> Iterator[tuple[str, Node]]:
    if isinstance(value, Mapping):
        yield path, value
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _children(f"{path}[{index}]", item)


def _allowed(node: Node, path: str, trainer: Any) -> frozenset[str] | None:
    if path in PLAIN_NODES:
        return frozenset(PLAIN_NODES[path])
    if path in NAMED:
        return None
    # The teacher's trainer holds what differs from the student's, so it has the arguments but not the target.
    target = trainer if path == "teacher.train.trainer" else node.get("_target_")
    if not isinstance(target, str):
        return None
    names = arguments(locate(target, path))
    return None if names is None else names - frozenset(GIVEN.get(path, ()))


def arguments(target: Any) -> frozenset[str] | None:
    """Names of the keyword arguments of a class or a function; ``None`` if it takes any.

    ``**kwargs`` of a class stand for the arguments of its base class.

    Example:
        >>> sorted(arguments(difflib.get_close_matches))
        ['cutoff', 'n', 'possibilities', 'word']
    """
    if not inspect.isclass(target):
        return _signature(target)
    names: frozenset[str] = frozenset()
    owners = [base for base in target.__mro__ if "__init__" in vars(base) and base is not object]
    for owner in owners:
        # These take *args and **kwargs to be a good parent to several classes; they use none.
        if owner in (nn.Module, pl.LightningModule):
            return names
        found = _signature(owner, open_end=True)
        if found is None:
            return None
        names |= found - {"*", "self"}
        if "*" not in found:
            return names
    return None if owners else names


def _signature(function: Any, open_end: bool = False) -> frozenset[str] | None:
    """Argument names; with ``open_end``, ``"*"`` among them stands for ``**kwargs``, else that gives ``None``."""
    try:
        parameters = inspect.signature(function.__init__ if inspect.isclass(function) else function).parameters
    except (TypeError, ValueError):  # a builtin that does not tell
        return None
    kinds = {parameter.kind for parameter in parameters.values()}
    named = frozenset(
        name
        for name, parameter in parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    )
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        return named
    return named | {"*"} if open_end else None


def locate(target: str, path: str = "") -> Any:
    """The class or function that a dotted name stands for.

    Raises:
        ValueError: If it cannot be imported, with the way out.

    Example:
        >>> locate("collections.OrderedDict").__name__
        'OrderedDict'
    """
    if not isinstance(target, str) or "." not in target:
        raise ValueError(_not_found(target, path, "it is no dotted name, such as `package.module.Class`.", ""))
    parts = target.split(".")
    for end in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:end])
        try:
            found: Any = import_module(name)
        except ModuleNotFoundError as error:
            if error.name is not None and not f"{name}.".startswith(f"{error.name}."):
                raise ValueError(_not_found(target, path, str(error), error.name)) from error
            continue
        for part in parts[end:]:
            if not hasattr(found, part):
                near = difflib.get_close_matches(part, dir(found), n=1)
                hint = f" Did you mean `{near[0]}`?" if near else ""
                raise ValueError(_not_found(target, path, f"`{name}` has no `{part}`.{hint}", ""))
            found = getattr(found, part)
        return found
    raise ValueError(_not_found(target, path, f"there is no module `{parts[0]}`.", parts[0]))


def _not_found(target: Any, path: str, reason: str, module: str) -> str:
    extra = EXTRAS.get(module.split(".")[0])
    install = f" Install it: pip install 'lightning-distill[{extra}]'" if extra else ""
    return f"Expected `{_join(path, '_target_')}` to name something to import, but got {target!r}: {reason}{install}"


def _value(node: Any, key: str) -> Any:
    return node.get(key) if isinstance(node, Mapping) else None


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
