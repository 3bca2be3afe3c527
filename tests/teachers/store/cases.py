"""A small store: its contents, how to write it, and whose it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_distill.teachers.store import Dense, Encoding, Field, Header, Identity, ShardWriter, open_folder

SAMPLES, EPOCHS, CLASSES = 23, 2, 5
IDENTITY = Identity("a" * 64, "b" * 64, "c" * 64, "augmented")
IDS = torch.arange(SAMPLES).flip(0) * 7 + 3  # neither sorted nor dense


def logits(rows: int = SAMPLES * EPOCHS) -> Tensor:
    """What the teacher said, ``[rows, C]``: every number is another one."""
    return torch.randn(rows, CLASSES, generator=torch.Generator().manual_seed(0))


def header(encoding: Encoding | None = None, **changes: Any) -> Header:
    encoding = encoding or Dense("float32")
    kept = encoding.encode(logits(2))
    fields = (Field("ids", "int64", ()), *(Field(n, str(v.dtype)[6:], tuple(v.shape[1:])) for n, v in kept.items()))
    return replace(Header(IDENTITY, encoding, CLASSES, EPOCHS, SAMPLES, 1, 4, fields), **changes)


def rows(header: Header, shard: int, start: int = 0) -> list[dict[str, Tensor]]:
    """Everything in a shard from row ``start`` on, a sample at a time."""
    block, said = header.block(shard), logits()
    places = [(epoch, position) for epoch in range(header.epochs) for position in block][start:]
    return [
        {
            "ids": IDS[position : position + 1],
            **header.encoding.encode(said[(row := epoch * SAMPLES + position) : row + 1]),
        }
        for epoch, position in places
    ]


def write(folder: Path, header: Header) -> Header:
    """A complete store."""
    header = open_folder(folder, header)
    for shard in range(header.shards):
        with ShardWriter(folder, header, shard) as writer:
            for row in rows(header, shard, writer.done):
                writer.append(row)
    return header
