"""Files that are whole, or old, or not there: never half-written, whenever the process dies or the disk is full."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

PART = ".part"
# <name>.<process>.part, <name>.ckpt.part of several processes, .<name>.<random>.part of an export.
OURS = re.compile(r"(\.\d+|\.ckpt|\.mode|^\..+)\.part$")
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REFUSED = (errno.EIO, errno.EACCES, errno.EPERM, errno.EROFS)


class Unwritten(OSError):
    """A file could not be written; the message names it and what to do."""


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A path beside ``path`` to write a file or a folder to, which takes its place once it is on the disk.

    Written aside, synced, renamed: whoever reads ``path`` at any time, also after a power cut, finds the old content or
    the new one. If writing fails, what was there before stays, and nothing is left behind.

    Args:
        path: What to replace; folders on the way are made.

    Raises:
        Unwritten: If the disk is full, or the system refuses. Names ``path`` and what to do.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replacing(Path(folder) / "number.txt") as part:
        ...         _ = part.write_text("7")
        ...     [file.name for file in Path(folder).iterdir()]
        ['number.txt']
    """
    path = Path(path)
    part = part_of(path)
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield part
            put(part, path)
    except BaseException:
        remove(part)
        raise


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say of an error of the system which file could not be written, and what to do.

    Raises:
        Unwritten: If the disk is full, broken or read-only, or the folder may not be written to.

    Example:
        >>> with writing(Path("results.csv")):
        ...     raise OSError(errno.EROFS, "Read-only file system")
        Traceback (most recent call last):
        ...
        lightning_distill.files.Unwritten: [Errno 30] Expected to be able to write results.csv, but got: Read-only...
    """
    try:
        yield
    except Exception as error:
        code = None if isinstance(error, Unwritten) else system_error(error)
        if code is None:
            raise
        raise unwritten(path, code) from error


def part_of(path: Path) -> Path:
    """Where the new content of ``path`` is written: a name of this process, so that two never write one file."""
    return path.with_name(f"{path.name}.{os.getpid()}{PART}")


def beside(path: Path) -> dict[str, Any]:
    """Arguments of :class:`tempfile.TemporaryDirectory` for a folder beside ``path`` that :func:`sweep` would find."""
    return {"dir": path.parent, "prefix": f".{path.name}.", "suffix": PART}


def put(part: Path, path: Path) -> None:
    """Let ``part``, a file or a folder, take the place of ``path``, with everything on the disk before and after."""
    for item in [*part.rglob("*"), part] if part.is_dir() else [part]:
        sync(item)
    if part.is_dir() and path.exists():
        # A folder cannot be replaced in one go. If the process dies in between, `recover` finds the old one.
        old = old_of(path)
        remove(old)
        os.rename(path, old)
        os.rename(part, path)
        remove(old)
    else:
        os.replace(part, path)
    sync(path.parent)


def follow_umask(path: Path) -> None:
    """Give a file the permissions that a new one has; some libraries make theirs private."""
    probe = path.with_name(f"{path.name}.mode{PART}")
    probe.touch()
    os.chmod(path, probe.stat().st_mode)
    probe.unlink()


def recover(path: Path) -> None:
    """Bring back a folder that was being replaced when the process died."""
    if not path.exists() and old_of(path).exists():
        with suppress(FileNotFoundError):  # another process was faster
            os.rename(old_of(path), path)


def old_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.old")


def remove(path: Path) -> None:
    """Delete a file or a folder; nothing happens if it is not there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Delete what a killed process left half-written in ``folder``, to which nobody else may be writing.

    Only names as they are given here: someone's own ``film.part`` is left alone.
    """
    for part in [path for path in folder.glob(f"*{PART}") if OURS.search(path.name)]:
        remove(part)


def sync(path: Path) -> None:
    """Have the system write a file, or a folder's list of names, to the disk."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # a system that does not open folders
        return
    try:
        with suppress(OSError):  # a file system that cannot sync
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def system_error(error: BaseException | None) -> int | None:
    """The number of the system's error for which writing failed, if it was one that is no fault of a program's.

    Example:
        >>> system_error(OSError(errno.ENOSPC, "No space left on device")) == errno.ENOSPC
        True
        >>> system_error(FileNotFoundError(errno.ENOENT, "No such file or directory")) is None
        True
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in (*FULL, *REFUSED):
            return error.errno
        # Libraries that write by themselves pass on the system's text only.
        for number in (*FULL, *REFUSED):
            if os.strerror(number) in str(error):
                return number
        error = error.__cause__ or error.__context__
    return None


def unwritten(path: Path, code: int) -> Unwritten:
    """The error for a file that could not be written."""
    kept = "What was there before is unchanged" if path.exists() else "Nothing was left behind"
    if code in FULL:
        code = errno.ENOSPC
        said = f"Expected room on the disk for {path}, but it is full, or a quota or a limit on file sizes is reached. "
        way_out = "Make room"
    else:
        said = f"Expected to be able to write {path}, but got: {os.strerror(code)}. "
        way_out = "See to the disk and the permissions of its folders"
    return Unwritten(code, f"{said}{kept}. {way_out} and go on from the last checkpoint: resume=<run folder>")
