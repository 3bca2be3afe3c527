"""Read a checkpoint that several processes wrote as a folder of shards, and make one ordinary file of it."""

from __future__ import annotations

import os
import pickle
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load

from lightning_distill.deepspeed_folder import check_deepspeed, is_deepspeed, read_deepspeed
from lightning_distill.files import replacing
from lightning_distill.weights import check_is_file, check_unpacked, read_content

META = "meta.pt"  # where Lightning puts all that is not in shards
LARGEST = 1 << 28  # bytes of the list of shards, which takes some hundred for each shard of a tensor
DESCRIPTIONS = "torch.distributed.checkpoint.metadata"
# What the list of shards, a pickle, may name: descriptions of tensors, and nothing that does anything. One by one: a
# module also holds what it imports, and `dataclass` compiles the names of fields that a class is said to have.
ALLOWED = {
    *((DESCRIPTIONS, kind) for kind in ("Metadata", "MetadataIndex", "StorageMeta", "TensorProperties")),
    *((DESCRIPTIONS, kind) for kind in ("BytesStorageMetadata", "ChunkStorageMetadata", "TensorStorageMetadata")),
    (DESCRIPTIONS, "_MEM_FORMAT_ENCODING"),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("torch.distributed.checkpoint", "_StorageInfo"),
    ("collections", "OrderedDict"),
    ("torch", "Size"),
    ("torch.serialization", "_get_layout"),
    ("pathlib", "PosixPath"),
    ("pathlib._local", "PosixPath"),
    ("pathlib", "WindowsPath"),
}


class _Descriptions(pickle._Unpickler):
    """Reads descriptions of tensors; anything else a pickle could name is refused, so that none of it can run.

    The reader in Python, since the one in C reserves the memory that a pickle says it needs.
    """

    def find_class(self, module: str, name: str) -> Any:
        dtype = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if dtype or (module, name) in ALLOWED:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is no description of a tensor")

    def load_build(self) -> None:
        """Set the attributes of an object, never those of a class, which all others would share."""
        base: Any = super()
        changed = self.stack[-2]  # type: ignore[attr-defined] # not among the published types
        if callable(changed):
            raise pickle.UnpicklingError(f"it changes {changed!r:.80}, which is no description of a tensor")
        base.load_build()

    dispatch: ClassVar[dict[int, Any]] = {**pickle._Unpickler.dispatch, pickle.BUILD[0]: load_build}


class SafeReader(FileSystemReader):
    """torch's reader of sharded checkpoints, which would otherwise run what is in their list of shards."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        folder = Path(self.path)
        path = folder / ".metadata"
        check_is_file(path, "a list of shards")
        if path.stat().st_size > LARGEST:
            raise ValueError(f"its list of shards is longer than {LARGEST} bytes")
        metadata = _Descriptions(BytesIO(path.read_bytes())).load()
        if not isinstance(metadata, Metadata):
            raise pickle.UnpicklingError(f"it holds a {type(metadata).__name__}, no list of shards")
        for name in {info.relative_path for info in (metadata.storage_data or {}).values()}:
            if not isinstance(name, str) or name != Path(name).name:
                raise ValueError(f"it names {name!r:.80}, which is no file in it")
            check_is_file(folder / name, "a shard")
        return metadata

    def _slice_file(self, file: Any, info: Any) -> Any:
        most = os.fstat(file.fileno()).st_size
        part = BytesIO(super()._slice_file(file, info).read(min(info.length, most)))
        check_unpacked(part, len(part.getvalue()))
        part.seek(0)
        return part


def check_shards(folder: str | Path) -> None:
    """Raise unless the list of shards describes tensors: before Lightning reads it, which would run what it names.

    Raises:
        ValueError: If ``folder`` is no such checkpoint, is damaged, or names code.
    """
    if is_deepspeed(folder):
        return check_deepspeed(folder)
    try:
        SafeReader(folder).read_metadata()
    except Exception as error:  # whatever the bytes of a file that is something else make the reader do
        raise _unreadable(Path(folder), error) from None


def read_folder(folder: str | Path) -> dict[str, Tensor]:
    """The weights in a checkpoint that is a folder: in shards, or as DeepSpeed writes it.

    Raises:
        ValueError: If ``folder`` is no such checkpoint, is damaged, or names code.
    """
    return read_deepspeed(folder) if is_deepspeed(folder) else read_shards(folder)


def read_shards(folder: str | Path, prefix: str = "state_dict.") -> dict[str, Tensor]:
    """The whole tensors whose names begin with ``prefix``, without it.

    Raises:
        ValueError: If ``folder`` is no such checkpoint, is damaged, or names code.
    """
    folder = Path(folder)
    wanted: dict[str, Any] = {}
    try:
        reader = SafeReader(folder)
        described = reader.read_metadata().state_dict_metadata
        room = sum(file.stat().st_size for file in folder.glob("*.distcp"))
        for name, entry in described.items():
            if name.startswith(prefix) and isinstance(entry, TensorStorageMetadata):
                dtype = entry.properties.dtype
                room -= entry.size.numel() * dtype.itemsize
                if room < 0:
                    raise ValueError(f"with {name} its tensors would be larger than all shards together")
                wanted[name] = torch.empty(entry.size, dtype=dtype)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that one process reads is what is meant
            load(wanted, storage_reader=reader, no_dist=True)
    except CheckpointException as error:
        raise _unreadable(folder, next(iter(error.failures.values()))[0]) from None
    except Exception as error:  # whatever the bytes of a file that is something else make the reader do
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
    content = read_content(Path(folder) / META)
    if not isinstance(content, dict):
        raise _unreadable(Path(folder), f"its {META} holds a {type(content).__name__}")
    with replacing(path) as part:
        torch.save({**content, "state_dict": weights}, part)


def _unreadable(folder: Path, reason: object) -> ValueError:
    first = str(reason).splitlines()[0] if str(reason) else type(reason).__name__
    return ValueError(
        f"Expected {folder} to be a checkpoint in shards, as `ShardedStudent(save_distributed_checkpoint=True)` writes "
        f"it, but it cannot be read: {first}."
    )
