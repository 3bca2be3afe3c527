"""Extra losses of a distiller, on any layers of its two networks."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from lightning_distill.adapters import build_adapter
from lightning_distill.distillers.needs import call_loss
from lightning_distill.distillers.term import ROLES, Adapter, Role, Route, Term, check_term, naming
from lightning_distill.distillers.term_loss import (
    Needs,
    channels_of,
    is_own,
    losses_for_soft_targets,
    make_loss,
    needs_of,
    refuses_soft_targets,
    size_of,
)
from lightning_distill.distillers.term_taps import Seen, TermTaps, network_of
from lightning_distill.dry_run import no_trace
from lightning_distill.schedules import Schedule, is_scheduled, value_at
from lightning_distill.taps import find_module
from lightning_distill.types import Batch, describe

__all__ = ["Term", "TermSet"]

MASK_KEYS = ("mask", "attention_mask")


class TermSet(nn.Module):
    """The terms of one distiller at work: taps on both networks, trained adapters and losses.

    Build it with :meth:`build`. In a step: ``with terms.capture(student, teacher):`` run both networks, then
    :meth:`compute`.

    Attributes:
        losses: The loss of each term.
        adapters: The adapters of each term that has any, one for each of its pairs.

    Example:
        >>> student, teacher, images = nn.Sequential(nn.Linear(4, 3)), nn.Sequential(nn.Linear(4, 5)), torch.ones(2, 4)
        >>> terms = TermSet.build({"hint": Term(nn.MSELoss, 2.0, "0", "0", adapter="auto")}, student, teacher, images)
        >>> with terms.capture(student, teacher):
        ...     logits = student(images), teacher(images)
        >>> list(terms.compute(Batch(images), *logits, progress=0.0)), terms.weights(0.0), terms.adapters["hint"][0]
        (['hint'], {'hint': 2.0}, Linear(in_features=3, out_features=5, bias=True))
    """

    def __init__(self) -> None:
        super().__init__()
        self.losses = nn.ModuleDict()
        self.adapters = nn.ModuleDict()
        self._weights: dict[str, float | Schedule] = {}
        self._routes: dict[str, Route] = {}
        self._needs: dict[str, Needs] = {}
        self._taps = TermTaps({})
        self._without_teacher: tuple[str, ...] = ()

    @classmethod
    def build(
        cls,
        terms: Mapping[str, Term],
        student: nn.Module,
        teacher: nn.Module | None,
        example_input: Any,
        dataset_size: int | None = None,
    ) -> TermSet:
        """Run both networks once, without any lasting effect on them, and size what the terms need.

        Args:
            terms: By name; a name is what the loss is logged under.
            student: The network to train.
            teacher: The network to learn from. Without one there is nothing to build: the set is empty.
            example_input: A small batch of inputs: a tensor or a mapping. Adapters are sized by it.
            dataset_size: Number of training samples, for terms that do not say it themselves.

        Raises:
            TypeError: If a term is none, or holds something of the wrong type.
            ValueError: If a name, a path, a shape or an argument does not fit. The message names the term.
        """
        if not isinstance(terms, Mapping):
            raise TypeError(f"Expected `terms` to map names to Terms, but got a {type(terms).__name__}.")
        for name, term in terms.items():
            check_term(name, term)
        term_set = cls()
        if teacher is None or not terms:
            term_set._without_teacher = tuple(terms)
            return term_set
        if example_input is None:
            raise ValueError(
                f"Expected `example_input` for the terms {', '.join(map(repr, terms))}, but got None. Adapters and "
                "losses are sized by it: pass a small batch of inputs."
            )
        term_set._weights = {name: term.weight for name, term in terms.items()}
        term_set._routes = {name: Route.of(term) for name, term in terms.items()}
        term_set._taps = TermTaps(term_set._routes)
        seen = term_set._taps.look(student, teacher, example_input)
        for name, term in terms.items():
            with naming(name, RuntimeError):
                head = _frozen_copy(network_of(teacher), term.teacher_head)
                known = {"teacher_head": head, "dataset_size": term.dataset_size or dataset_size}
                term_set._add(name, term, seen, known)
        return term_set

    def capture(
        self, student: nn.Module | None = None, teacher: nn.Module | None = None
    ) -> AbstractContextManager[None]:
        """Collect what the terms need from the forward passes within.

        Args:
            student: The student as it is now, if it may be another one than at construction: a copy, a replacement.
            teacher: Likewise.
        """
        return self._taps.capture(student, teacher)

    def compute(
        self,
        batch: Batch,
        student_logits: Tensor,
        teacher_logits: Tensor,
        progress: float,
        rows: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The loss of every term by name, unweighted.

        Args:
            batch: The samples.
            student_logits: ``[B, C, ...]``.
            teacher_logits: Likewise.
            progress: In [0, 1].
            rows: Which samples have a label ``[B]``; ``None`` for all.

        Raises:
            ValueError: If the batch lacks what a loss needs, or a feature is missing. The message names the term.
        """
        if self._without_teacher:
            raise ValueError(
                f"Expected a teacher when the terms {', '.join(map(repr, self._without_teacher))} were built, but "
                "there was none. Pass it to the distiller's constructor."
            )
        features = {"student": self._taps.read("student"), "teacher": self._taps.read("teacher")}
        features["student"][None], features["teacher"][None] = student_logits, teacher_logits
        given = {
            "target": batch.target,
            "sample_ids": batch.sample_ids,
            "mask": _mask(batch.inputs),
            "progress": progress,
            "student_logits": student_logits,
            "teacher_logits": teacher_logits.detach(),
        }
        losses = {}
        for name, route in self._routes.items():
            student, teacher = ([features[role][path] for path in route.paths[role]] for role in ROLES)
            with naming(name):
                adapted = _adapt(self._adapters(name), student)
                losses[name] = self._call(name, self.losses[name], adapted, teacher, given, rows)
        return losses

    @property
    def teacher_paths(self) -> tuple[str, ...]:
        """The layers of the teacher that the terms read."""
        return self._taps.paths("teacher")

    def weights(self, progress: float) -> dict[str, float]:
        """What each term is multiplied by at this point of the run."""
        return {name: value_at(weight, progress) for name, weight in self._weights.items()}

    @property
    def needs_labels(self) -> bool:
        """Whether a loss reads the labels."""
        return any("target" in needs.names for needs in self._needs.values())

    def scheduled(self) -> list[str]:
        """Names of the terms whose weights change during the run."""
        return [name for name, weight in self._weights.items() if is_scheduled(weight)]

    def check_dataset_size(self, size: int) -> None:
        """Raise unless every loss that remembers samples has room for ``sample_ids`` below ``size``.

        Raises:
            ValueError: If one has not; the message names the term.
        """
        for name, loss in self.losses.items():
            room = getattr(loss, "dataset_size", None)
            if isinstance(room, int) and room < size:
                raise ValueError(
                    f"term {name!r}: Expected `dataset_size` to be at least {size}, since the data's sample ids go up "
                    f"to {size - 1}, but got {room}."
                )

    def _adapters(self, name: str) -> Sequence[nn.Module]:
        return list(self.adapters[name].children()) if name in self.adapters else ()

    def _call(
        self,
        name: str,
        loss: nn.Module,
        student: Sequence[Tensor],
        teacher: Sequence[Tensor],
        given: Mapping[str, Any],
        rows: Tensor | None = None,
    ) -> Tensor:
        """One loss on one pair, with what it needs beside it."""
        needs, single = self._needs[name].present(given), self._routes[name].single
        _check_needs(loss, needs, given)
        # A teacher in lower precision is lifted to the student's; neither side is lowered.
        teacher = [feature.detach().to(torch.promote_types(feature.dtype, student[0].dtype)) for feature in teacher]
        return call_loss(
            loss,
            needs,
            student[0] if single["student"] else tuple(student),
            teacher[0] if single["teacher"] else tuple(teacher),
            given,
            "the loss",
            rows,
        )

    def _add(self, name: str, term: Term, seen: Seen, known: Mapping[str, Any]) -> None:
        """Size the adapters and the loss of one term, and try them on the example."""
        route = self._routes[name]
        student, teacher = seen.pick("student", route), seen.pick("teacher", route)
        if term.adapter is not None:
            adapters = _build_adapters(term.adapter, student, teacher, seen.image_size).to(student[0])
            self.adapters[name] = adapters
            with no_trace(adapters), torch.no_grad():
                student = _adapt(self._adapters(name), student)
        sizes = _sizes("student", student, route) | _sizes("teacher", teacher, route)
        # Never below float32: what a loss remembers and averages must not be rounded with the student.
        dtype = torch.promote_types(student[0].dtype, torch.float32)
        loss = make_loss(term.loss, {**known, **sizes}).to(student[0].device, dtype)
        self.losses[name] = loss
        self._needs[name] = needs_of(loss)
        given = _example_of(self._needs[name], loss, seen)
        if given is not None:
            self._try(name, student, teacher, given)

    def _try(self, name: str, student: list[Tensor], teacher: list[Tensor], given: Mapping[str, Any]) -> None:
        """Run a copy of the loss once, so that what does not fit is found before training."""
        loss = copy.deepcopy(self.losses[name])
        with no_trace(loss), torch.no_grad():
            value = self._call(name, loss, student, teacher, given)
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise ValueError(f"Expected `loss` to return a scalar, but got {describe(value)}. Average or sum it.")


def _adapt(adapters: Sequence[nn.Module], features: list[Tensor]) -> list[Tensor]:
    return [adapter(f) for adapter, f in zip(adapters, features, strict=True)] if adapters else features


def _example_of(needs: Needs, loss: nn.Module, seen: Seen) -> dict[str, Any] | None:
    """What ``loss`` needs beside the pair for the example; ``None`` if only its author knows what that looks like."""
    required = needs.names - needs.optional
    if "mask" in required or (required & {"target", "sample_ids"} and not is_own(loss)):
        return None
    given: dict[str, Any] = {"progress": 0.0}
    if needs.names - {"progress", "mask"}:
        logits = seen.logits("student")
        given |= {"student_logits": logits, "teacher_logits": seen.logits("teacher")}
        given["target"] = logits.new_zeros(logits.shape[:1] + logits.shape[2:], dtype=torch.long)
        given["sample_ids"] = torch.arange(logits.shape[0], device=logits.device)
    return given


def _check_needs(loss: nn.Module, needs: frozenset[str], given: Mapping[str, Any]) -> None:
    """Raise if the labels are soft and the loss needs class indices, or a mask is missing."""
    target = given.get("target") if "target" in needs else None
    if target is not None and target.is_floating_point() and refuses_soft_targets(loss):
        raise ValueError(
            f"Expected integer labels, which {type(loss).__name__} needs, but got {target.dtype} of shape "
            f"{list(target.shape)}, as mixup and cutmix make them. Losses for soft targets: "
            f"{', '.join(losses_for_soft_targets())}, and losses that compare features."
        )
    if "mask" in needs and given.get("mask") is None:
        raise ValueError(
            f"Expected inputs with a `mask` or `attention_mask`, which {type(loss).__name__} needs, but got none. Have "
            "the data loader yield the inputs as a mapping."
        )


def _frozen_copy(network: nn.Module | None, path: str | None) -> nn.Module | None:
    """A copy that a loss may own: the teacher's own module must stay out of checkpoints and of train mode."""
    if network is None or path is None:
        return None
    return copy.deepcopy(find_module(network, path)).eval().requires_grad_(False)


def _sizes(role: Role, features: Sequence[Tensor], route: Route) -> dict[str, Any]:
    channels = [channels_of(feature.shape) for feature in features]
    sizes = [size_of(feature.shape) for feature in features]
    if route.single[role]:
        return {f"{role}_channels": channels[0], f"{role}_sizes": sizes[0]}
    return {f"{role}_channels": channels, f"{role}_sizes": sizes}


def _build_adapters(
    adapter: Adapter | Sequence[Adapter],
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    image_size: tuple[int, int] | None,
) -> nn.ModuleList:
    """One adapter for each pair. A name serves all of them, a module one: it would be shared otherwise."""
    if len(student) != len(teacher):
        raise ValueError(
            "Expected `student` and `teacher` to hold as many paths, for an adapter to join each pair, but got "
            f"{len(student)} and {len(teacher)}."
        )
    kinds: list[Any]
    if isinstance(adapter, str):
        kinds = [adapter] * len(student)
    else:
        kinds = list(adapter) if isinstance(adapter, (Sequence, nn.ModuleList)) else [adapter]
    if len(kinds) != len(student):
        raise ValueError(
            f"Expected `adapter` to hold one entry for each of the {len(student)} pairs, but got {len(kinds)}."
        )
    pairs = zip(kinds, student, teacher, strict=True)
    return nn.ModuleList(build_adapter(kind, s.shape, t.shape, image_size) for kind, s, t in pairs)


def _mask(inputs: Any) -> Any:
    """The padding mask among inputs that are a mapping."""
    if not isinstance(inputs, Mapping):
        return None
    return next((inputs[key] for key in MASK_KEYS if key in inputs), None)
