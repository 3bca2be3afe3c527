"""Samples held in memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from lightning_distill.data import InMemoryDataset, keep_batch
from lightning_distill.types import Batch


def samples() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.arange(10.0).reshape(5, 2), torch.tensor([3, 1, 4, 1, 5])


def test_items__hold_input_label_and_id_of_their_position() -> None:
    batch = InMemoryDataset(samples())[[4, 0]]
    assert isinstance(batch, Batch)
    assert batch.inputs.tolist() == [[8.0, 9.0], [0.0, 1.0]]
    assert (batch.target.tolist(), batch.sample_ids.tolist()) == ([5, 3], [4, 0])


def test_given_ids__are_kept() -> None:
    batch = InMemoryDataset((*samples(), torch.tensor([10, 20, 30, 40, 50])))[1:3]
    assert batch.sample_ids.tolist() == [20, 30]


def test_mapping__is_cut_by_key() -> None:
    inputs = {"a": torch.arange(3), "b": torch.arange(3) * 10}
    batch = InMemoryDataset((inputs, torch.tensor([0, 1, 0])))[[2, 1]]
    assert {name: value.tolist() for name, value in batch.inputs.items()} == {"a": [2, 1], "b": [20, 10]}


def test_loader__cuts_whole_batches() -> None:
    loader = DataLoader(InMemoryDataset(samples()), batch_size=2, collate_fn=keep_batch)
    assert [batch.sample_ids.tolist() for batch in loader] == [[0, 1], [2, 3], [4]]


def test_fingerprint__changes_with_every_value_and_type() -> None:
    inputs, target = samples()
    first = InMemoryDataset((inputs, target)).fingerprint()
    assert first == InMemoryDataset((inputs.clone(), target.clone())).fingerprint()
    moved = inputs.clone()
    moved[0, 0] = 0.5
    others = [(moved, target), (inputs.double(), target), (inputs, target + 1), (inputs.reshape(5, 1, 2), target)]
    assert len({first, *(InMemoryDataset(other).fingerprint() for other in others)}) == 5


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ((torch.zeros(3, 2), torch.zeros(2)), ValueError, r"`train` to hold as many inputs .* lengths \[2, 3\]"),
        ((torch.zeros(0, 2), torch.zeros(0)), ValueError, r"at least one, but got lengths \[0\]"),
        (([1, 2], torch.zeros(2)), TypeError, "as a tensor .* but got list"),
    ],
    ids=["lengths", "empty", "list"],
)
def test_bad_samples__are_named(wrong: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        InMemoryDataset(wrong, "train")


def test_teacher_input__is_cut_and_counted_with_the_rest() -> None:
    low, high = torch.arange(6.0).reshape(3, 2), torch.arange(12.0).reshape(3, 4)
    dataset = InMemoryDataset(Batch(low, torch.arange(3), None, high))
    assert torch.equal(dataset[[2, 0]].teacher_input, high[[2, 0]])
    assert dataset.fingerprint() != InMemoryDataset(Batch(low, torch.arange(3), None, high + 1)).fingerprint()
    with pytest.raises(ValueError, match=r"lengths \[2, 3\]"):
        InMemoryDataset(Batch(low, torch.arange(3), None, high[:2]))
