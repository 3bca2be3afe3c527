"""The idx format of MNIST and its relatives (https://yann.lecun.org/exdb/mnist/, "File formats")."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

UNSIGNED_BYTE = 0x08


def read_idx(path: Path) -> Tensor:
    """The uint8 array in an idx file, plain or gzipped.

    Raises:
        ValueError: If the file is damaged or holds something else.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile, OSError) as error:
        raise ValueError(f"Expected {path} to be a gzipped idx file, but it cannot be read: {error}") from error
    # Two zero bytes, the type, the number of dimensions; then each dimension as a big-endian integer.
    if len(content) < 4 or content[:3] != bytes([0, 0, UNSIGNED_BYTE]):
        raise ValueError(f"Expected {path} to be an idx file of bytes, but it starts with {content[:4].hex(' ')}.")
    start = 4 + 4 * content[3]
    shape = np.frombuffer(content[4:start], dtype=">u4").astype(int).tolist()
    if len(shape) != content[3] or len(content) - start != np.prod(shape):
        raise ValueError(
            f"Expected {path} to hold {shape} bytes, but got {max(len(content) - start, 0)}: it is damaged."
        )
    return torch.from_numpy(np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape).copy())
