"""A teacher whose answers to the training samples are looked up instead of computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightning_distill.teachers.frozen import FrozenTeacher
from lightning_distill.teachers.store import TeacherStore
from lightning_distill.teachers.store.header import FEATURE
from lightning_distill.types import Batch


class CachedTeacher(FrozenTeacher):
    """Serves a :class:`~lightning_distill.teachers.store.TeacherStore` for training batches, and asks the live teacher
    about all others: validation, test, examples.

    Training batches are looked up by ``sample_ids`` and epoch, so they need ids that the store knows; inputs are not
    looked at. Look-ups happen in the CPU's memory, and what was found is sent to the device of the batch.

    Args:
        live: The teacher that the store was made with.
        store: The store, or its folder, which is taken as it is. To refuse one that belongs to another teacher or other
            data, open it with :func:`~lightning_distill.teachers.fingerprint.identity_of`, or make it with
            :func:`~lightning_distill.teachers.remember.remember`, which checks.

    Raises:
        FileNotFoundError: If there is no store.
        ValueError: If it is damaged.

    Attributes:
        live: The teacher that is asked where nothing is looked up.
        store: The store.
    """

    live: FrozenTeacher

    def __init__(self, live: nn.Module, store: TeacherStore | str | Path) -> None:
        # Past FrozenTeacher's own: this teacher has no network beside the live one's.
        nn.Module.__init__(self)
        self.live = live if isinstance(live, FrozenTeacher) else FrozenTeacher(live)
        self.store = store if isinstance(store, TeacherStore) else TeacherStore(store)
        self._looked_up: tuple[Tensor, int, torch.device] | None = None
        self._announced: Tensor | None = None
        self.train()

    @property
    def model(self) -> nn.Module:  # type: ignore[override] # read only
        """The live teacher's network."""
        return self.live.model

    @property
    def options(self) -> dict[str, Any]:
        """The live teacher's options."""
        return self.live.options

    @property
    def applied(self) -> dict[str, str]:
        """What the live teacher did to be cheaper, when it was last asked."""
        return self.live.applied

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The live teacher's output."""
        self._looked_up = None
        return self.live(*args, **kwargs)

    def answer(self, batch: Batch, epoch: int | None = None) -> Any:
        """The stored logits ``[B, C, ...]`` of a training batch; the live teacher's answer to any other.

        Args:
            batch: With ``sample_ids`` where it is looked up.
            epoch: The epoch of training that it belongs to, from 0; ``None`` for any other batch.

        Raises:
            ValueError: If the batch cannot be looked up.
        """
        if epoch is None:
            self._looked_up = None
            return self.live.answer(batch)
        if batch.sample_ids is None:
            raise ValueError(
                f"Expected batches with `sample_ids`, by which the store {self.store.folder} is read, but got none. "
                "Yield (inputs, target, sample_ids), or train with the teacher itself."
            )
        ids, announced = batch.sample_ids, self._announced
        self._announced = None
        known = not _on_host(ids) and announced is not None and announced.shape == ids.shape
        # Without an announcement, ids on a GPU are waited for here.
        self._looked_up = announced if known and announced is not None else ids.cpu(), epoch, _device_of(batch)
        header = self.store.header
        logits = header.encoding.decode(self._fetch(self.store.logit_fields), header.classes)
        return _only_where(ids == _sent(self._looked_up[0], ids.device), logits) if known else logits

    def announce(self, batch: Batch) -> None:
        """Hear which batch will be asked about next, while its ids are on the CPU: no step waits for a GPU then."""
        ids = batch.sample_ids
        self._announced = ids if ids is not None and _on_host(ids) else None

    def recall(self, paths: Sequence[str]) -> dict[str, Tensor] | None:
        """Features of the last answer; ``None`` if it was computed, and they are where they were tapped.

        Raises:
            ValueError: If the store does not hold them.
        """
        if self._looked_up is None:
            return None
        missing = [path for path in paths if path not in self.store.features]
        if missing:
            raise ValueError(
                f"Expected the store {self.store.folder} to hold the teacher's features "
                f"{', '.join(map(repr, missing))}, but it holds {', '.join(map(repr, self.store.features)) or 'none'}. "
                "Build it with `features=[...]`, or train with the teacher itself."
            )
        found = self._fetch([f"{FEATURE}{path}" for path in paths])
        return {name.removeprefix(FEATURE): feature.float() for name, feature in found.items()}

    def answer_example(self, example_input: Any) -> Any:
        """The live teacher's answer."""
        self._looked_up = None
        return self.live.answer_example(example_input)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        return nn.Module._apply(self, fn, recurse)  # type: ignore[no-untyped-call] # the live teacher has its own

    def _fetch(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Fields of the samples that were looked up last, on their device, in the precision of the store."""
        if self._looked_up is None:
            return {}
        ids, epoch, device = self._looked_up
        return {name: _sent(field, device) for name, field in self.store.fields(ids, epoch, names).items()}


def _on_host(ids: Tensor) -> bool:
    """Whether reading these ids takes no wait."""
    return ids.device.type == "cpu"


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor on ``device``; nothing waits for its arrival."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _only_where(same: Tensor, logits: Tensor) -> Tensor:
    """NaN for samples that are not those that were announced, which stops the run as any NaN of a teacher does."""
    return torch.where(same.view(-1, *[1] * (logits.ndim - 1)), logits, float("nan"))


def _device_of(batch: Batch) -> torch.device:
    """Where the batch's inputs are."""
    inputs = list(batch.inputs.values()) if isinstance(batch.inputs, Mapping) else [batch.inputs]
    return next((part.device for part in inputs if isinstance(part, Tensor)), torch.device("cpu"))
