"""Two processes of one training, as torchrun starts them, in forks of the test."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.multiprocessing.spawn import start_processes

from tests.launching import free_port


def in_two_processes(work: Callable[..., Any], *arguments: Any) -> None:
    """Call ``work(rank, *arguments)`` in two processes that find each other."""
    start_processes(_rank, (free_port(), work, arguments), 2, start_method="fork")


def _rank(rank: int, port: int, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": "test",
        "GROUP_RANK": "0",
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
    }
    work(rank, *arguments)


def answers(work: Callable[..., Any], folder: Path, *arguments: Any) -> list[str]:
    """What each of two processes raises in ``work(rank, folder, *arguments)``: ``"ValueError: ..."``, or nothing."""
    in_two_processes(_answer, work, folder, arguments)
    return [(folder / f"answer{rank}.txt").read_text() for rank in range(2)]


def _answer(rank: int, work: Callable[..., Any], folder: Path, arguments: tuple[Any, ...]) -> None:
    said = ""
    try:
        work(rank, folder, *arguments)
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
    (folder / f"answer{rank}.txt").write_text(said)
