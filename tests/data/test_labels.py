"""Labels that are no classes are found before training."""

from __future__ import annotations

import pytest
import torch

from lightning_distill.data import TensorDataModule

INPUTS = torch.zeros(4, 2)
GOOD = (INPUTS, torch.tensor([0, 1, 2, 0]))


def module(target: torch.Tensor, num_classes: int = 3, split: str = "train") -> TensorDataModule:
    splits = {"train": GOOD, "val": GOOD, "test": GOOD} | {split: (INPUTS, target)}
    return TensorDataModule(**splits, num_classes=num_classes)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_label_out_of_range__names_split_position_and_value(split: str) -> None:
    with pytest.raises(ValueError, match=f"labels of `{split}` to be from 0 to 2, but position 2 has 3.*to 4, or mark"):
        module(torch.tensor([0, 1, 3, 0]), split=split)
    with pytest.raises(ValueError, match=r"position 1 has -1. Count classes from 0, or mark .* by -100"):
        module(torch.tensor([0, -1, 3, 0]))


def test_float_class_index__is_refused() -> None:
    with pytest.raises(ValueError, match=r"`train` to be integers, but got torch.float32 of shape \[4\]"):
        module(torch.tensor([0.0, 1.0, 2.0, 0.0]))


@pytest.mark.parametrize(
    "target",
    [torch.tensor([0, -100, 2, -100]), torch.rand(4, 3), torch.zeros(4, 5, 5, dtype=torch.long)],
    ids=["unlabelled", "soft", "dense"],
)
def test_other_labels__are_taken(target: torch.Tensor) -> None:
    assert torch.equal(module(target).train_dataset.target, target)


def test_values__need_one_output() -> None:
    samples = (INPUTS, torch.rand(4))
    assert TensorDataModule(samples, samples, num_classes=1).train_dataset.target.dtype == torch.float32


def test_integers__are_what_the_losses_take() -> None:
    assert module(torch.tensor([0, 1, 2, 0], dtype=torch.int16)).train_dataset.target.dtype == torch.long
    assert module(torch.zeros(4, 3, dtype=torch.bool)).train_dataset.target.dtype == torch.float32


def test_full__leaves_samples_without_a_label_to_the_student() -> None:
    data = module(torch.tensor([0, -100, 2, -100]))
    assert data.full().train_dataset.sample_ids.tolist() == [0, 2]
    assert (len(data.train_dataset), data.full().dataset_size) == (4, 4)
