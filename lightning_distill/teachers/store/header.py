"""The header of a store: what it holds, for whom, and in which form; plain values in a JSON file."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch

from lightning_distill.files import replacing
from lightning_distill.teachers.store.encoding import Encoding, encoding_of

FORMAT = "lightning-distill teacher store"
FORMAT_VERSION = 1
FILE = "header.json"
MAX_BYTES = 1 << 16  # a header takes some hundred bytes; nothing longer is read
DIGEST_BYTES = 16  # of a chunk's SHA-256
CHUNK_BYTES = 1 << 20  # aimed at: large enough to be read in one go, small enough to be checked within a step
KINDS = {"int64": 8, "int32": 4, "int16": 2, "float32": 4, "float16": 2}
MOST = 1 << 40  # rows or elements; what is announced is compared with the files' lengths before anything is allocated
MOST_CLASSES = 1 << 22  # a batch of logits of so many takes a gigabyte
FEATURE = "feature:"  # before the path of a feature, in the name of its field
VIEWS = ("augmented", "clean")
PARTS = {
    "teacher": "the teacher (its weights or its options)",
    "data": "the training data",
    "transforms": "the transforms (augmentation, its seed, or normalisation)",
}


@dataclass(frozen=True)
class Identity:
    """Whose outputs these are, and of what: everything that has to agree before they are served.

    Attributes:
        teacher: Fingerprint of the weights and options.
        data: Fingerprint of the training samples.
        transforms: Fingerprint of what is done to them.
        view: ``"augmented"``: the views that the student sees, one per epoch; ``"clean"``: one that is not augmented.
    """

    teacher: str
    data: str
    transforms: str
    view: str

    def differences(self, other: Identity) -> list[str]:
        """What keeps ``other``'s outputs from being served in this one's place, in words; empty if nothing does."""
        parts = [
            f"{said} (fingerprint {getattr(other, name)[:12]} in the store, {getattr(self, name)[:12]} now)"
            for name, said in PARTS.items()
            if getattr(self, name) != getattr(other, name)
        ]
        views = [f"the view ({other.view!r} in the store, {self.view!r} now)"] if self.view != other.view else []
        return parts + views


@dataclass(frozen=True)
class Field:
    """One array with a row for each sample and epoch.

    Attributes:
        name: ``"ids"``, what the encoding keeps, or ``"feature:<path>"``.
        dtype: One of numpy's names.
        shape: Of one row.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return KINDS[self.dtype] * math.prod(self.shape)

    @property
    def numpy(self) -> np.dtype[Any]:
        """Little endian on every machine."""
        return np.dtype(self.dtype).newbyteorder("<")


@dataclass(frozen=True)
class Header:
    """Everything about a store but the numbers themselves.

    Attributes:
        identity: Whose outputs these are.
        encoding: How logits are kept.
        classes: Number of classes.
        epochs: Entries of each sample; 1 where every epoch looks alike.
        samples: Number of samples.
        shards: Files that the samples are spread over, in blocks: one for each process that wrote.
        chunk_rows: Rows that are written and checked together.
        fields: What a row holds.
    """

    identity: Identity
    encoding: Encoding
    classes: int
    epochs: int
    samples: int
    shards: int
    chunk_rows: int
    fields: tuple[Field, ...]

    @property
    def key(self) -> str:
        """A hash of all of this: it goes into every chunk's digest, so that no chunk of another store is taken."""
        return hashlib.sha256(json.dumps(self.plain(), sort_keys=True).encode()).hexdigest()

    @property
    def row_bytes(self) -> int:
        """Bytes of one entry of one sample."""
        return sum(field.row_bytes for field in self.fields)

    @property
    def total_bytes(self) -> int:
        """Bytes of all numbers; the digests and this header are small beside them."""
        return self.row_bytes * self.samples * self.epochs

    def block(self, shard: int) -> range:
        """Positions of the samples in one shard."""
        return range(shard * self.samples // self.shards, (shard + 1) * self.samples // self.shards)

    def rows(self, shard: int) -> int:
        """Rows of one shard: its samples once for each epoch."""
        return len(self.block(shard)) * self.epochs

    def chunks(self, shard: int) -> int:
        """Chunks of one shard; the last one may be shorter."""
        return -(-self.rows(shard) // self.chunk_rows)

    def plain(self) -> dict[str, Any]:
        """As it is written to JSON."""
        sizes = {name: getattr(self, name) for name in ("classes", "epochs", "samples", "shards", "chunk_rows")}
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "identity": asdict(self.identity),
            "encoding": self.encoding.plain(),
            **sizes,
            "fields": [{"name": f.name, "dtype": f.dtype, "shape": list(f.shape)} for f in self.fields],
        }


def chunk_rows_for(row_bytes: int) -> int:
    """Rows that make a chunk of about a megabyte."""
    return max(1, CHUNK_BYTES // max(1, row_bytes))


def write_header(folder: Path, header: Header) -> None:
    """Write ``header.json``, complete or not at all."""
    with replacing(folder / FILE) as part:
        part.write_text(json.dumps({**header.plain(), "key": header.key}, indent=1) + "\n")


def read_header(folder: Path) -> Header:
    """Read ``header.json`` and check every value in it.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is not what :func:`write_header` wrote.
    """
    path = folder / FILE
    if not path.is_file():
        raise FileNotFoundError(f"Expected {folder} to hold a store of teacher outputs, but it has no {FILE}.")
    with path.open("rb") as file:
        raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        _damaged(path, f"it is longer than {MAX_BYTES} bytes")
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError):
        _damaged(path, "it is no JSON")
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        _damaged(path, "it is another kind of file")
    if content.get("format_version") != FORMAT_VERSION:
        found = content.get("format_version")
        _damaged(path, f"its format_version is {found!r:.40}, and this version reads {FORMAT_VERSION}")
    try:
        header = _parse(content)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        _damaged(path, f"a value is missing or out of range ({error!s:.120})")
    if content.get("key") != header.key:
        _damaged(path, "its contents do not match its own hash")
    return header


def _parse(content: Mapping[str, Any]) -> Header:
    identity = Identity(**{name: _text(value) for name, value in content["identity"].items()})
    if identity.view not in VIEWS:
        raise ValueError("view")
    fields = tuple(_field(plain) for plain in content["fields"])
    if not fields or fields[0] != Field("ids", "int64", ()) or len({f.name for f in fields}) != len(fields):
        raise ValueError("fields")
    header = Header(
        identity,
        encoding_of(content["encoding"]),
        **{name: _count(content[name]) for name in ("classes", "epochs", "samples", "shards", "chunk_rows")},
        fields=fields,
    )
    if header.classes > MOST_CLASSES or header.shards > header.samples or not _holds_logits(header):
        raise ValueError("classes, shards or fields")
    return header


def _holds_logits(header: Header) -> bool:
    """Whether the fields are those that the encoding makes of logits of so many classes."""
    kept = [field for field in header.fields[1:] if not field.name.startswith(FEATURE)]
    tail = kept[0].shape[1:] if kept else ()
    made = header.encoding.encode(torch.empty(1, header.classes, *tail, device="meta"))  # shapes without numbers
    expected = {name: (str(value.dtype).removeprefix("torch."), tuple(value.shape[1:])) for name, value in made.items()}
    return expected == {field.name: (field.dtype, field.shape) for field in kept}


def _field(plain: Mapping[str, Any]) -> Field:
    if plain["dtype"] not in KINDS or not isinstance(plain["shape"], list):
        raise ValueError("dtype")
    field = Field(_text(plain["name"]), plain["dtype"], tuple(_count(size) for size in plain["shape"]))
    if math.prod(field.shape) > MOST:
        raise ValueError("shape")
    return field


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("text")
    return value


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST:
        raise ValueError("count")
    return value


def _damaged(path: Path, reason: str) -> NoReturn:
    raise ValueError(
        f"Expected {path} to be the header of a store of teacher outputs, but {reason}. Delete the folder "
        f"{path.parent}: the store is built anew."
    )
