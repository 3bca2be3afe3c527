"""Samples held in memory and served by batched indexing."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_distill.types import Batch, as_batch, batch_size_of


class InMemoryDataset(Dataset[Batch]):
    """A data set that cuts a whole batch out of its tensors at once, instead of collating single samples.

    ``DataLoader`` calls ``__getitems__`` with all positions of a batch; give it ``collate_fn=keep_batch``.

    Args:
        samples: ``(inputs, target)``, ``(inputs, target, sample_ids)``, a :class:`Batch` or a mapping. Inputs (and
            ``teacher_input``, where the teacher sees something else) are ``[N, ...]`` or a mapping of such tensors,
            target ``[N, ...]`` or ``None``, ids ``[N]`` integers: the positions 0 to N - 1 where none are given.
        name: What an error message calls the samples.

    Raises:
        TypeError: If the inputs are not tensors.
        ValueError: If there are no samples, or inputs, target and ids differ in length.

    Example:
        >>> dataset = InMemoryDataset((torch.zeros(5, 3), torch.arange(5)))
        >>> dataset[[4, 0]].target
        tensor([4, 0])
    """

    def __init__(self, samples: Any, name: str = "samples") -> None:
        inputs, target, sample_ids, teacher_input = as_batch(samples)
        _check_inputs(name, inputs)
        if teacher_input is not None:
            _check_inputs(f"{name}.teacher_input", teacher_input)
        if target is not None and not (target.is_floating_point() or target.is_complex()):
            # Whatever integers labels are stored as, the losses take these; several labels per sample are 0 or 1.
            target = target.float() if target.dtype == torch.bool else target.long()
        size = batch_size_of(inputs)
        ids = torch.arange(size) if sample_ids is None else sample_ids
        lengths = {len(t) for t in _tensors(Batch(inputs, target, ids, teacher_input))}
        if lengths != {size} or size == 0:
            raise ValueError(
                f"Expected `{name}` to hold as many inputs as labels and ids, and at least one, but got lengths "
                f"{sorted(lengths)}."
            )
        self.samples = Batch(inputs, target, ids, teacher_input)

    def __len__(self) -> int:
        return batch_size_of(self.samples.inputs)

    def __getitem__(self, index: int | Sequence[int] | slice | Tensor) -> Batch:
        """One sample for a number, a batch for several positions."""
        where = index if isinstance(index, (int, slice)) else torch.as_tensor(index)
        return Batch(*(_cut(part, where) for part in self.samples))

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        return self[indices]

    @property
    def target(self) -> Tensor | None:
        """Labels ``[N, ...]``."""
        return self.samples.target

    @property
    def sample_ids(self) -> Tensor:
        """Ids ``[N]``."""
        ids: Tensor = self.samples.sample_ids  # type: ignore[assignment] # given or made
        return ids

    def read(self, positions: Tensor, epoch: int | None = None) -> Batch:
        """The batch at ``positions``; it is the same in every epoch."""
        return self[positions]

    def example(self) -> Batch:
        """The first two samples."""
        return self[:2]

    def subset(self, positions: Tensor) -> InMemoryDataset:
        """The samples at ``positions``, with their ids."""
        return InMemoryDataset(self[positions])

    def fingerprint(self) -> str:
        """A hash of names, types, shapes and every value: equal contents give equal hashes on any machine."""
        digest = hashlib.sha256()
        parts = (self.samples.inputs, self.samples.teacher_input)
        names = [name for part in parts if isinstance(part, Mapping) for name in part]
        digest.update(repr(names).encode())
        for tensor in _tensors(self.samples):
            digest.update(f"{tensor.dtype}{list(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
        return digest.hexdigest()


def keep_batch(batch: Batch) -> Batch:
    """The ``collate_fn`` for a data set that already yields batches."""
    return batch


def _cut(part: Any, where: Any) -> Any:
    if isinstance(part, Mapping):
        return {name: values[where] for name, values in part.items()}
    return None if part is None else part[where]


def _tensors(samples: Batch) -> list[Tensor]:
    return [
        tensor
        for part in samples
        if part is not None
        for tensor in (part.values() if isinstance(part, Mapping) else [part])
    ]


def _check_inputs(name: str, inputs: Any) -> None:
    values = list(inputs.values()) if isinstance(inputs, Mapping) else [inputs]
    wrong = next((v for v in values if not isinstance(v, Tensor) or v.ndim == 0), None)
    if wrong is not None or not values:
        raise TypeError(
            f"Expected `{name}` to hold inputs as a tensor [N, ...] or a mapping of such tensors, but got "
            f"{type(wrong).__name__}. Convert arrays with `torch.as_tensor`."
        )
