"""Read a checkpoint that several processes wrote as a folder of shards, and make one ordinary file of it."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load

from lightning_distill.files import replacing

META = "meta.pt"  # where Lightning puts all that is not in shards
# What the list of shards, a pickle, may name: descriptions of tensors, and nothing that does anything.
ALLOWED = {
    ("collections", "OrderedDict"),
    ("torch", "Size"),
    ("torch.serialization", "_get_layout"),
    ("pathlib", "PosixPath"),
    ("pathlib._local", "PosixPath"),
    ("pathlib", "WindowsPath"),
}
ALLOWED_MODULES = ("torch.distributed.checkpoint.metadata",)
FILE_TYPES = (
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("torch.distributed.checkpoint", "_StorageInfo"),
)


class _Descriptions(pickle.Unpickler):
    """Reads descriptions of tensors; anything else a pickle could name is refused, so that none of it can run."""

    def find_class(self, module: str, name: str) -> Any:
        plain = "." not in name and not name.startswith("__")
        known = (module, name) in ALLOWED or (module, name) in FILE_TYPES
        dtype = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if plain and (known or dtype or module in ALLOWED_MODULES):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is no description of a tensor")


class SafeReader(FileSystemReader):
    """torch's reader of sharded checkpoints, which would otherwise run what is in their list of shards."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        with (Path(self.path) / ".metadata").open("rb") as file:
            metadata = _Descriptions(file).load()
        if not isinstance(metadata, Metadata):
            raise pickle.UnpicklingError(f"it holds a {type(metadata).__name__}, no list of shards")
        return metadata


def read_shards(folder: str | Path, prefix: str = "state_dict.") -> dict[str, Tensor]:
    """The whole tensors whose names begin with ``prefix``, without it.

    Raises:
        ValueError: If ``folder`` is no such checkpoint, is damaged, or names code.
    """
    folder = Path(folder)
    try:
        reader = SafeReader(folder)
        described = reader.read_metadata().state_dict_metadata
        room = sum(file.stat().st_size for file in folder.glob("*.distcp"))
        wanted: dict[str, Any] = {}
        for name, entry in described.items():
            if name.startswith(prefix) and isinstance(entry, TensorStorageMetadata):
                dtype = entry.properties.dtype
                if entry.size.numel() * dtype.itemsize > room:
                    raise ValueError(f"{name} would be larger than all shards together")
                wanted[name] = torch.empty(entry.size, dtype=dtype)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that one process reads is what is meant
            load(wanted, storage_reader=reader, no_dist=True)
    except (
        OSError,
        ValueError,
        KeyError,
        EOFError,
        AttributeError,
        TypeError,
        RuntimeError,
        pickle.UnpicklingError,
    ) as error:
        raise _unreadable(folder, error) from None
    except CheckpointException as error:
        raise _unreadable(folder, error) from None
    return {name.removeprefix(prefix): tensor for name, tensor in wanted.items()}


def consolidate(folder: str | Path, path: str | Path) -> None:
    """Make an ordinary checkpoint file of a folder of shards: for ``load_from_checkpoint`` and ``load_weights``.

    The state of the optimizer stays behind: a run goes on from the folder itself.

    Args:
        folder: What a run with ``ShardedStudent(save_distributed_checkpoint=True)`` wrote.
        path: The file to write.

    Raises:
        ValueError: If ``folder`` is no such checkpoint, or damaged.
    """
    weights = read_shards(folder)
    try:
        content = torch.load(Path(folder) / META, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise _unreadable(Path(folder), error) from None
    with replacing(path) as part:
        torch.save({**content, "state_dict": weights}, part)


def _unreadable(folder: Path, reason: object) -> ValueError:
    first = str(reason).splitlines()[0] if str(reason) else type(reason).__name__
    return ValueError(
        f"Expected {folder} to be a checkpoint in shards, as `ShardedStudent(save_distributed_checkpoint=True)` writes "
        f"it, but it cannot be read: {first}."
    )
