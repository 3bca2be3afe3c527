"""CRD: its memory, its draws and its normalisers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lightning_distill.losses import CRDLoss
from lightning_distill.losses.contrastive import draw_others


def make(**options: int) -> CRDLoss:
    torch.manual_seed(0)
    return CRDLoss(3, 4, **({"dataset_size": 10, "negatives": 6} | options))


def features(batch: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, generator=generator), torch.randn(batch, 4, generator=generator)


def test_others__are_never_the_sample_itself_and_all_others_come_up() -> None:
    ids = torch.tensor([0, 4, 9])
    drawn = draw_others(ids, 10, 500, torch.Generator().manual_seed(0))
    assert not (drawn == ids.unsqueeze(1)).any()
    for own, row in zip(ids.tolist(), drawn, strict=True):
        assert set(row.tolist()) == set(range(10)) - {own}
        assert torch.bincount(row, minlength=10).max() < 2 * 500 / 9


def test_memory__takes_up_the_batch_only_and_stays_of_length_one() -> None:
    loss = make()
    before = loss.student_memory.clone()
    loss(*features(), sample_ids=torch.tensor([7, 2]))
    changed = (loss.student_memory != before).any(dim=1).nonzero().flatten().tolist()
    assert changed == [2, 7]
    torch.testing.assert_close(loss.student_memory[[2, 7]].norm(dim=1), torch.ones(2))
    student = torch.nn.functional.normalize(loss.student_embedding(features()[0]).detach())
    mixed = 0.5 * before[[7, 2]] + 0.5 * student
    torch.testing.assert_close(loss.student_memory[[7, 2]], torch.nn.functional.normalize(mixed))


def test_memory__is_left_alone_in_eval_mode() -> None:
    loss = make().eval()
    before = {name: value.clone() for name, value in loss.state_dict().items()}
    loss(*features(), sample_ids=torch.tensor([7, 2]))
    assert all(torch.equal(before[name], value) for name, value in loss.state_dict().items())


def test_duplicates__leave_the_last_embedding() -> None:
    twice, once = make(), make()
    student, teacher = features(3)
    twice(student, teacher, sample_ids=torch.tensor([5, 1, 5]))
    once(student[1:], teacher[1:], sample_ids=torch.tensor([1, 5]))
    torch.testing.assert_close(twice.student_memory, once.student_memory)


def test_normalisers__are_those_of_the_first_batch() -> None:
    loss = make()
    loss(*features(seed=0), sample_ids=torch.tensor([0, 1]))
    first = loss.log_normalizers.clone()
    loss(*features(seed=1), sample_ids=torch.tensor([2, 3]))
    assert torch.equal(loss.log_normalizers, first)
    assert (first != 0).all()


def test_resume__goes_on_bit_for_bit() -> None:
    whole, rest = make(), make()
    for step in range(2):
        whole(*features(seed=step), sample_ids=torch.tensor([step, step + 1]))
    rest.load_state_dict(whole.state_dict())
    torch.manual_seed(9)  # nothing is drawn from the global generator
    inputs, ids = features(seed=5), torch.tensor([8, 9])
    first = whole(*inputs, sample_ids=ids)
    second = rest(*inputs, sample_ids=ids)
    assert torch.equal(first, second)
    assert torch.equal(whole.teacher_memory, rest.teacher_memory)


@pytest.mark.parametrize(("size", "negatives"), [(10, 6), (200, 2)], ids=["by product", "by rows"])
def test_both_ways_to_multiply__equal_the_formula(size: int, negatives: int) -> None:
    torch.manual_seed(0)
    loss = CRDLoss(3, 4, dataset_size=size, dim=5, negatives=negatives).double()
    student, teacher = (part.double() for part in features())
    ids, others = torch.tensor([3, 6]), torch.tensor([[1, 2], [4, 1]]).repeat(1, negatives // 2)
    memories = loss.student_memory.clone(), loss.teacher_memory.clone()
    found = loss(student, teacher, sample_ids=ids, negative_ids=others)
    unit = torch.nn.functional.normalize
    anchors = unit(loss.student_embedding(student)), unit(loss.teacher_embedding(teacher))
    rows, expected = torch.cat([ids.unsqueeze(1), others], dim=1), 0.0
    for anchor, memory in zip(anchors, reversed(memories), strict=True):
        x = torch.exp((memory[rows] * anchor.unsqueeze(1)).sum(dim=2) / 0.07)
        x = x / (x.mean() * size)
        noise = negatives / size
        expected -= (x[:, 0] / (x[:, 0] + noise + 1e-7)).log().sum() / 2
        expected -= (noise / (x[:, 1:] + noise + 1e-7)).log().sum() / 2
    torch.testing.assert_close(found, torch.as_tensor(expected), rtol=1e-9, atol=0.0)


def test_bad_input__is_named() -> None:
    with pytest.raises(ValueError, match="`sample_ids` to be from 0 to 9, but got 10"):
        make()(*features(), sample_ids=torch.tensor([10, 2]))
    with pytest.raises(ValueError, match="`sample_ids` to be from 0 to 9, but got -1"):
        make()(*features(), sample_ids=torch.tensor([3, -1]))
    with pytest.raises(ValueError, match="`sample_ids` to be integers"):
        make()(*features(), sample_ids=torch.tensor([0.0, 1.0]))
    with pytest.raises(ValueError, match="`dataset_size` to be at least 2, but got 1"):
        make(dataset_size=1)
