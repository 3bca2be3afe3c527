"""What the processes of a run tell each other, and how they part."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch.distributed as dist

from lightning_distill.processes import from_all, leave
from tests.ranks import in_two_processes


def threads() -> list[str]:
    return [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]


def meet_and_part(rank: int, folder: Path) -> None:
    dist.init_process_group("gloo")
    assert from_all(rank) == [0, 1]
    assert any("gloo" in name for name in threads())
    leave()
    (folder / str(rank)).write_text(" ".join(threads()))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted by /proc")
def test_leave__nothing_goes_on_in_the_background(tmp_path: Path) -> None:
    in_two_processes(meet_and_part, tmp_path)
    assert not any("gloo" in (tmp_path / str(rank)).read_text() for rank in range(2))


def test_leave__alone() -> None:
    leave()
    assert from_all("x") == ["x"]
