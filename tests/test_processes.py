"""What the processes of a run tell each other, and how they part."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch.distributed as dist

from lightning_distill.processes import from_all, leave
from tests.ranks import in_two_processes


def threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def meet_and_part(rank: int, folder: Path) -> None:
    dist.init_process_group("gloo")
    assert from_all(rank) == [0, 1]
    before = threads()
    leave()
    (folder / str(rank)).write_text(str(before - threads()))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted by /proc")
def test_leave__ends_the_threads_of_gloo(tmp_path: Path) -> None:
    in_two_processes(meet_and_part, tmp_path)
    assert all(int((tmp_path / str(rank)).read_text()) >= 3 for rank in range(2))  # a loop, and two that send


def test_leave__alone() -> None:
    leave()
    assert from_all("x") == ["x"]
