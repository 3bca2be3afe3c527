"""The taps that a set of terms has on both networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_distill.distillers.term import ROLES, Path, Role, Route, naming
from lightning_distill.dry_run import dry_run
from lightning_distill.taps import FeatureError, FeatureTaps, find_module, split_path
from lightning_distill.teachers.frozen import FrozenTeacher
from lightning_distill.types import as_logits


@dataclass(frozen=True)
class Seen:
    """What the dry run saw: the outputs of both networks, and the tapped features by role and path."""

    outputs: Mapping[Role, Any]
    features: Mapping[Role, Mapping[Path, Tensor]]
    image_size: tuple[int, int] | None

    def logits(self, role: Role) -> Tensor:
        """The logits of one network."""
        return as_logits(self.outputs[role], role)

    def pick(self, role: Role, route: Route) -> list[Tensor]:
        """The features of one network that a term reads."""
        return [self.logits(role) if path is None else self.features[role][path] for path in route.paths[role]]


class TermTaps:
    """Taps on a student and a teacher for all terms at once; a layer that several terms read is tapped once.

    Args:
        routes: By term name.
    """

    def __init__(self, routes: Mapping[str, Route]) -> None:
        self._routes = dict(routes)
        self._taps: dict[Role, FeatureTaps] = {}
        self._teacher: FrozenTeacher | None = None  # of the last capture, which may recall instead of run
        self._copies: dict[Role, tuple[str, ...]] = {}

    @contextmanager
    def capture(self, student: nn.Module | None, teacher: nn.Module | None) -> Iterator[None]:
        """Collect from the forward passes within; ``None`` is the network of the last time."""
        with ExitStack() as stack:
            for role, model in zip(ROLES, (student, teacher), strict=True):
                if self.paths(role):
                    stack.enter_context(self._on(role, model))
            self._teacher = teacher if isinstance(teacher, FrozenTeacher) else None
            yield

    def look(self, student: nn.Module, teacher: nn.Module, example_input: Any) -> Seen:
        """Run both networks once, in eval mode and without a trace, and keep everything that the terms read."""
        outputs: dict[Role, Any] = {}
        features: dict[Role, dict[Path, Tensor]] = {}
        for role, model in zip(ROLES, (student, teacher), strict=True):
            taps = self._on(role, model)
            # Uncompiled: a compiled pass takes long to start, and does not tell which features it overwrites.
            with torch.no_grad(), torch.compiler.set_stance("force_eager"), taps:
                outputs[role] = _run(model, example_input)
            self._copies[role] = taps.protect()
            features[role] = self.read(role)
        return Seen(outputs, features, _image_size(example_input))

    def read(self, role: Role) -> dict[Path, Tensor]:
        """The features of one network by path, out of the last :meth:`capture`; they are forgotten here.

        Raises:
            ValueError: If there was none, or a feature is missing. The message names the terms that read it.
        """
        paths = self.paths(role)
        if not paths:
            return {}
        if role == "teacher" and self._teacher is not None:
            recalled = self._teacher.recall(paths)
            if recalled is not None:
                return {path: recalled[path] for path in paths}
        if role not in self._taps:
            raise ValueError(f"Expected the {role} to run within `capture`, but it did not.")
        try:
            return dict(zip(paths, self._taps[role].read(), strict=True))
        except FeatureError as error:
            users = [repr(name) for name, route in self._routes.items() if error.path in route.paths[role]]
            raise ValueError(f"term {', '.join(users)}: in the {role}: {error}") from error

    def paths(self, role: Role) -> tuple[str, ...]:
        """The module paths that the terms read in one network, each once."""
        paths = [path for route in self._routes.values() for path in route.paths[role] if path is not None]
        return tuple(dict.fromkeys(paths))

    def __getstate__(self) -> dict[str, Any]:
        # A copy of a distiller shares its teacher, so it must not bring along a copy of the network that is tapped.
        taps = {role: taps for role, taps in self._taps.items() if role != "teacher"}
        return {**self.__dict__, "_taps": taps, "_teacher": None}

    def _on(self, role: Role, model: nn.Module | None) -> FeatureTaps:
        """The taps on ``model``; made anew if it is another network than the last time."""
        taps, network = self._taps.get(role), network_of(model)
        if taps is not None and (network is None or network is taps.model):
            return taps
        if network is None:
            raise ValueError(f"Expected `{role}` to be a network, but got None: a copy must be told what to tap.")
        for name, route in self._routes.items():
            with naming(name):
                for path in filter(None, route.paths[role]):
                    find_module(network, split_path(path)[0])
        self._taps[role] = FeatureTaps(network, self.paths(role), self._copies.get(role, ()), trained=role == "student")
        return self._taps[role]


def network_of(model: nn.Module | None) -> nn.Module | None:
    """What is tapped: a frozen teacher's own network."""
    return model.model if isinstance(model, FrozenTeacher) else model


def _run(model: nn.Module, example_input: Any) -> Any:
    """The output for one example; a frozen teacher may have one of its own."""
    return model.answer_example(example_input) if isinstance(model, FrozenTeacher) else dry_run(model, example_input)


def _image_size(inputs: Any) -> tuple[int, int] | None:
    tensors = inputs.values() if isinstance(inputs, Mapping) else (inputs,)
    image = next((tensor for tensor in tensors if isinstance(tensor, Tensor) and tensor.ndim == 4), None)
    return None if image is None else (image.shape[2], image.shape[3])
