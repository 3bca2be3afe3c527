"""Relations between the samples of several processes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import start_processes

from lightning_distill.losses import CCLoss, CRDLoss, PKTLoss, QueueLoss, RKDLoss, SPLoss
from lightning_distill.losses.gather import gather_rows

RANKS = 2
BATCH = 6
LOSSES: dict[str, Callable[[], nn.Module]] = {
    "sp": partial(SPLoss, gather=True),
    "rkd": partial(RKDLoss, gather=True),
    "pkt": partial(PKTLoss, gather=True),
    "cc": partial(CCLoss, gather=True),
    "cc_projected": partial(CCLoss, 4, 5, dim=3, gather=True),
}


def setting(name: str) -> tuple[nn.Module, nn.Module, Tensor, Tensor]:
    """A student, a loss, and the whole batch: the same in every process."""
    torch.manual_seed(0)
    student, loss = nn.Linear(3, 4).double(), LOSSES[name]().double()
    generator = torch.Generator().manual_seed(1)
    images, teacher = (torch.randn(BATCH, d, generator=generator, dtype=torch.float64) for d in (3, 5))
    return student, loss, images, teacher


def trained(student: nn.Module, loss: nn.Module) -> list[Tensor]:
    return [p.grad for p in (*student.parameters(), *loss.parameters()) if p.grad is not None]


def one_rank(rank: int, names: list[str], folder: str) -> None:
    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/store", RANKS)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=RANKS)
    found = {}
    for name in names:
        student, loss, images, teacher = setting(name)
        mine = slice(rank * BATCH // RANKS, (rank + 1) * BATCH // RANKS)
        value = loss(student(images[mine]), teacher[mine])
        value.backward()
        gradients = trained(student, loss)
        for gradient in gradients:  # what data-parallel training does
            dist.all_reduce(gradient)
            gradient /= RANKS
        found[name] = [value.detach(), *gradients]
    found["rows"] = [gather_rows(torch.full((1, 2), float(rank)))]
    found["memory"] = remembered(rank)
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def remembered(rank: int) -> list[Tensor]:
    """What every process keeps of the samples of both."""
    torch.manual_seed(0)
    crd, queue = CRDLoss(3, 3, dataset_size=4, negatives=2), QueueLoss(3, size=4)
    features = torch.eye(3)[rank : rank + 1]
    crd(features, features, sample_ids=torch.tensor([rank + 1]))
    queue(features, features)
    return [crd.student_memory, crd.teacher_memory, crd.log_normalizers, queue.queue]


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, list[Tensor]]]:
    """What each of two processes found."""
    folder: Path = tmp_path_factory.mktemp("ranks")
    start_processes(one_rank, (list(LOSSES), str(folder)), RANKS, start_method="fork")
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(RANKS)]


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_gather__value_and_gradient_equal_one_process(name: str, two_ranks: list[dict[str, list[Tensor]]]) -> None:
    student, loss, images, teacher = setting(name)
    value = loss(student(images), teacher)
    value.backward()
    expected = [value.detach(), *trained(student, loss)]
    for found in two_ranks:
        assert len(found[name]) == len(expected)
        for ours, whole in zip(found[name], expected, strict=True):
            torch.testing.assert_close(ours, whole, rtol=1e-12, atol=1e-14)


@pytest.mark.slow
def test_gather__rows_come_in_the_order_of_ranks(two_ranks: list[dict[str, list[Tensor]]]) -> None:
    for found in two_ranks:
        assert found["rows"][0].tolist() == [[0.0, 0.0], [1.0, 1.0]]


@pytest.mark.slow
def test_gather__memories_are_the_same_on_all_ranks(two_ranks: list[dict[str, list[Tensor]]]) -> None:
    first, second = (found["memory"] for found in two_ranks)
    for ours, theirs in zip(first, second, strict=True):
        assert torch.equal(ours, theirs)
    assert first[3][:2].abs().sum() == 2  # both ranks' embeddings are in the queue
    assert first[3][2:].abs().sum() == 0


def test_gather__without_processes_is_the_batch() -> None:
    rows = torch.ones(2, 3)
    assert gather_rows(rows) is rows
    student, loss, images, teacher = setting("sp")
    torch.testing.assert_close(loss(student(images), teacher), SPLoss()(student(images), teacher))
