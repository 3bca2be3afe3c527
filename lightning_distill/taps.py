"""Features by module path, from any network, without rewriting it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lightning_distill.types import describe

INPUT, OUTPUT = "input", "output"
# Fields of a module's output that are read before any other.
FIELDS = ("last_hidden_state", "logits")
# What torch.compile, DDP and FSDP put in front of a submodule's name.
WRAPPERS = ("_orig_mod", "module", "_fsdp_wrapped_module")


class FeatureError(ValueError):
    """A tapped module gave no usable feature; ``path`` says which."""

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class FeatureTaps:
    """What named modules of ``model`` return, or are given, during a forward pass.

    * The output of a module is read as its first tensor: a tensor as it is, of a mapping or an object
      ``last_hidden_state`` or ``logits``, otherwise the first entry.
    * ``"fc:input"`` is the first tensor that the module ``fc`` is called with: the embedding ahead of a classifier, or
      a map ahead of its activation.
    * Of a module that runs several times in a pass, the last run counts.
    * Nothing is kept between passes: :meth:`read` returns the features and forgets them, and outside of
      ``with taps:`` nothing is collected, so inference and export see idle hooks only.
    * A copy of the network and its taps (``copy.deepcopy``, pickle) collects into the copy. Names and values of
      ``state_dict()`` stay as they are.

    ``torch.compile`` traces the hooks into its graph, without a break, if the taps exist before the first call; a
    network compiled and called earlier ignores them, and :meth:`read` says so. With gradient checkpointing, use
    ``use_reentrant=False``: the reentrant form runs blocks without gradients, which ``trained=True`` makes an error.

    Args:
        model: Any network; wrapped by ``torch.compile`` or DDP it keeps its own paths.
        paths: Module paths as ``model.named_modules()`` gives them, with an optional ``":input"``.
        copies: Those of ``paths`` whose features are copied because a later in-place operation overwrites them;
            :meth:`protect` finds them.
        trained: Whether a module that runs without gradients, where ``with taps:`` was entered with them, is an error.

    Raises:
        TypeError: If ``paths`` is not a sequence of strings.
        ValueError: If a module is not there; the message lists the nearest.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> taps = FeatureTaps(model, ["0", "2:input"])
        >>> with taps:
        ...     _ = model(torch.ones(5, 4))
        >>> [list(feature.shape) for feature in taps.read()]
        [[5, 3], [5, 3]]
    """

    def __init__(
        self, model: nn.Module, paths: Sequence[str], copies: Sequence[str] = (), *, trained: bool = False
    ) -> None:
        if isinstance(paths, str) or not all(isinstance(path, str) for path in paths):
            raise TypeError(f"Expected `paths` to be a sequence of module paths, but got {paths!r}.")
        self.model = model
        self.paths = tuple(paths)
        self._store = _Store(copies, trained)
        self._handles: list[RemovableHandle] = []
        modules = {path: find_module(model, split_path(path)[0]) for path in self.paths}
        for path, module in modules.items():
            if split_path(path)[1] == INPUT:
                hook = partial(self._store.keep_input, path)
                self._handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))
            else:
                self._handles.append(module.register_forward_hook(partial(self._store.keep_output, path)))

    @property
    def enabled(self) -> bool:
        """Whether a forward pass is collected now; ``with taps:`` sets it."""
        return self._store.enabled

    def __enter__(self) -> FeatureTaps:
        self._store.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._store.enabled = False
        if error[0] is not None:
            self._store.clear()

    def read(self) -> tuple[Tensor, ...]:
        """The features of the last pass in the order of ``paths``; they are forgotten here.

        Raises:
            FeatureError: If a module did not run, ran without gradients although they were asked for, returned no
                tensor, or its feature was overwritten later in the pass.
        """
        try:
            return tuple(self._feature(path) for path in self.paths)
        finally:
            self._store.clear()

    def protect(self) -> tuple[str, ...]:
        """Copy from now on what the last pass overwrote in place after it was tapped, and return these paths.

        An in-place activation or residual sum after a module would turn its feature into another one.
        """
        changed = tuple(path for path in self.paths if self._store.overwritten(path))
        self._store.copied.update(changed)
        self._store.versions.clear()
        return changed

    def remove(self) -> None:
        """Take the hooks off the network."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._store.clear()

    def __del__(self) -> None:
        # Taps that nobody can read any more leave the network as it was; ahead of `__init__`'s end there are none.
        for handle in getattr(self, "_handles", ()):
            handle.remove()

    def _feature(self, path: str) -> Tensor:
        feature = self._store.features.get(path)
        tensor = first_tensor(feature)
        if path in self._store.without_gradient:
            problem = (
                f"Expected `{path}` to run with gradients, but it ran without: a frozen part under `torch.no_grad()`, "
                "or reentrant gradient checkpointing. Use `use_reentrant=False`, or tap a module outside of the block."
            )
        elif path not in self._store.features:
            problem = self._did_not_run(path)
        elif self._store.overwritten(path):
            problem = (
                f"Expected the feature `{path}` to stay as it was, but a later in-place operation overwrote it. Give "
                "the module after it `inplace=False`, or tap another one."
            )
        elif tensor is None:
            problem = f"Expected `{path}` to hold a tensor, but got {describe(feature)}. Tap another module."
        else:
            return tensor
        raise FeatureError(problem, path)

    def _did_not_run(self, path: str) -> str:
        name = split_path(path)[0]
        children = [f"{name}.{child}" for child, _ in find_module(self.model, name).named_children()][:4]
        way_out = f" Its children: {', '.join(map(repr, children))}." if children else ""
        return (
            f"Expected the module `{name}` to run in the forward pass, but it did not. A container such as ModuleList, "
            "or a layer whose weights are read by its parent, is never called, and a network that was compiled and "
            f"called before ignores hooks.{way_out}"
        )


class _Store:
    """What the hooks fill. It knows no network, so that copying a hooked module copies nothing but that module."""

    def __init__(self, copies: Sequence[str], trained: bool) -> None:
        self.trained = trained
        self.enabled = False
        self.with_gradient = False
        self.copied = set(copies)
        self.features: dict[str, Any] = {}
        self.versions: dict[str, int] = {}
        self.without_gradient: set[str] = set()

    def start(self) -> None:
        self.clear()
        self.with_gradient = self.trained and torch.is_grad_enabled()
        self.enabled = True

    def clear(self) -> None:
        self.features.clear()
        self.versions.clear()
        self.without_gradient.clear()

    def keep_output(self, path: str, module: nn.Module, args: Any, output: Any) -> None:
        if self.enabled:
            self._keep(path, output)

    def keep_input(self, path: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.enabled:
            self._keep(path, (*args, *kwargs.values()))

    def overwritten(self, path: str) -> bool:
        tensor = first_tensor(self.features.get(path))
        return tensor is not None and path in self.versions and tensor._version != self.versions[path]

    def _keep(self, path: str, value: Any) -> None:
        tensor = first_tensor(value)
        if self.with_gradient and not torch.is_grad_enabled():
            self.without_gradient.add(path)
        if tensor is None:
            self.features[path] = value
            return
        # Compiled code has no versions to tell whether a feature is overwritten later.
        copied = path in self.copied or torch.compiler.is_compiling()
        self.features[path] = tensor.clone() if copied else tensor
        if not copied and not tensor.is_inference():
            self.versions[path] = tensor._version

    def __getstate__(self) -> dict[str, Any]:
        # Features belong to a pass that a copy has not made; those with a graph could not be copied anyway.
        return dict(_Store(tuple(self.copied), self.trained).__dict__)


def split_path(path: str) -> tuple[str, str]:
    """``"fc:input"`` as ``("fc", "input")``; without a suffix the output is meant.

    Raises:
        ValueError: If the suffix is neither ``input`` nor ``output``.

    Example:
        >>> split_path("layer3"), split_path("fc:input")
        (('layer3', 'output'), ('fc', 'input'))
    """
    name, _, side = path.partition(":")
    if side not in ("", INPUT, OUTPUT):
        raise ValueError(f"Expected a module path to end in `:input`, `:output` or neither, but got {path!r}.")
    return name, side or OUTPUT


def find_module(model: nn.Module, path: str) -> nn.Module:
    """The submodule at ``path``, whatever wraps the network.

    Raises:
        ValueError: If there is none; the message lists the nearest paths.

    Example:
        >>> find_module(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), "1")
        ReLU()
    """
    exact = dict(model.named_modules(remove_duplicate=False))
    modules: dict[str, nn.Module] = {_plain(name): module for name, module in exact.items()} | exact
    if path and path in modules:
        return modules[path]
    names = [name for name in dict.fromkeys(map(_plain, exact)) if name]
    near = difflib.get_close_matches(path, names, n=4, cutoff=0.5) or names[:4]
    listed = f"The nearest are {', '.join(map(repr, near))}" if near else "It has no submodules"
    raise ValueError(
        f"Expected a module path of {type(model).__name__}, but got {path!r}. {listed}; `model.named_modules()` lists "
        "them all."
    )


def first_tensor(value: Any) -> Tensor | None:
    """The first tensor in what a module returned, or ``None``.

    Example:
        >>> first_tensor({"attentions": None, "last_hidden_state": torch.ones(1)})
        tensor([1.])
    """
    if isinstance(value, Tensor) or value is None:
        return value
    for field in FIELDS:
        found = value.get(field) if isinstance(value, Mapping) else getattr(value, field, None)
        if isinstance(found, Tensor):
            return found
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        return next((tensor for tensor in map(first_tensor, value) if tensor is not None), None)
    return None


def _plain(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)
