"""A data module of tensors."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lightning_distill.data import TensorDataModule
from lightning_distill.types import Batch

INPUTS, TARGET = torch.arange(24.0).reshape(12, 2), torch.arange(12) % 3


def module(**options: Any) -> TensorDataModule:
    given: dict[str, Any] = {"num_classes": 3, "batch_size": 5} | options
    return TensorDataModule((INPUTS, TARGET), (INPUTS[:4], TARGET[:4]), (INPUTS[:7], TARGET[:7]), **given)


def ids(loader: Any, epoch: int = 0) -> list[list[int]]:
    loader.sampler.set_epoch(epoch)
    return [batch.sample_ids.tolist() for batch in loader]


def test_batches__are_batches_of_all_samples() -> None:
    batches = list(module().train_dataloader())
    assert all(isinstance(batch, Batch) for batch in batches)
    assert [len(batch.target) for batch in batches] == [5, 5, 2]
    for batch in batches:
        assert torch.equal(batch.inputs, INPUTS[batch.sample_ids])
        assert torch.equal(batch.target, TARGET[batch.sample_ids])
    assert sorted(torch.cat([batch.sample_ids for batch in batches]).tolist()) == list(range(12))


def test_order__changes_with_epoch_and_seed_and_can_be_repeated() -> None:
    assert ids(module().train_dataloader(), 1) == ids(module().train_dataloader(), 1)
    assert ids(module().train_dataloader(), 1) != ids(module().train_dataloader(), 2)
    assert ids(module().train_dataloader(), 1) != ids(module(seed=1).train_dataloader(), 1)


def test_evaluation__keeps_the_order() -> None:
    assert ids(module().val_dataloader()) == [[0, 1, 2, 3]]
    assert ids(module().test_dataloader()) == [[0, 1, 2, 3, 4], [5, 6]]


def test_a_last_batch_of_one__is_left_out_of_training_only() -> None:
    assert [len(batch.target) for batch in module(batch_size=11).train_dataloader()] == [11]
    assert [len(batch.target) for batch in module(batch_size=3).val_dataloader()] == [3, 1]


def test_train_samples__keep_their_ids_and_classes() -> None:
    few = module(train_samples=6, batch_size=3)
    chosen = [i for batch in ids(few.train_dataloader()) for i in batch]
    assert len(chosen) == 6
    assert torch.bincount(TARGET[chosen]).tolist() == [2, 2, 2]
    assert len(few.full().train_dataset) == 12
    assert len(few.train_dataset) == 6
    assert few.dataset_size == 12  # ids of the few go up to those of all


def test_dataset_size__is_above_every_id() -> None:
    numbered = TensorDataModule((INPUTS, TARGET, torch.arange(12) * 3), (INPUTS, TARGET), num_classes=3)
    assert numbered.dataset_size == 34


def test_fingerprint__is_that_of_a_training_run() -> None:
    first = module().fingerprint()
    assert first == module().fingerprint()
    others = [module(seed=1), module(batch_size=4), module(train_samples=6)]
    assert len({first, *(other.fingerprint() for other in others)}) == 4


def test_example_input__is_the_first_two() -> None:
    assert torch.equal(module().example_input, INPUTS[:2])


def test_no_test_split__says_so() -> None:
    without = TensorDataModule((INPUTS, TARGET), (INPUTS, TARGET), num_classes=3)
    with pytest.raises(ValueError, match="Expected `test` samples"):
        without.test_dataloader()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 0}, "`num_classes` .* at least 1, but got 0"),
        ({"batch_size": 1.5}, "`batch_size` .* whole number .* but got 1.5"),
        ({"seed": -1}, "`seed` .* at least 0, but got -1"),
        ({"train_samples": 2}, "`train_samples` .* from 3 .* to 12 .* got 2"),
        ({"train_samples": True}, "`train_samples` .* got True"),
        ({"class_names": ["a", "b"]}, "`class_names` to hold `num_classes` = 3 names, but got 2"),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(value),
)
def test_bad_arguments__are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        module(**options)


def test_has_unlabelled__says_whether_losses_have_to_look() -> None:
    inputs, target = torch.zeros(4, 2), torch.tensor([0, 1, 0, -100])
    val = (inputs, target.abs() % 2)
    assert TensorDataModule((inputs, target), val, num_classes=2).has_unlabelled
    assert not TensorDataModule(val, val, num_classes=2).has_unlabelled
