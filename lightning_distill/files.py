"""Files that are whole, or old, or not there: never half-written, whenever the process dies or the disk is full."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PART = ".part"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A path beside ``path`` to write a file or a folder to, which takes its place once it is on the disk.

    Written aside, synced, renamed: whoever reads ``path`` at any time, also after a power cut, finds the old content or
    the new one. If writing fails, what was there before stays, and nothing is left behind.

    Args:
        path: What to replace; folders on the way are made.

    Raises:
        OSError: If the disk is full. Names ``path`` and what to do.

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
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        put(part, path)
    except Exception as error:
        remove(part)
        if is_full(error):
            raise disk_full(path) from error
        raise
    except BaseException:
        remove(part)
        raise


def part_of(path: Path) -> Path:
    """Where the new content of ``path`` is written: a name of this process, so that two never write one file."""
    return path.with_name(f"{path.name}.{os.getpid()}{PART}")


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
    probe = path.with_name(f"{path.name}.mode")
    probe.touch()
    os.chmod(path, probe.stat().st_mode)
    probe.unlink()


def recover(path: Path) -> None:
    """Bring back a folder that was being replaced when the process died."""
    if not path.exists() and old_of(path).exists():
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
    """Delete what a killed process left half-written below ``folder``, to which nobody else may be writing."""
    for part in [*folder.rglob(f"*{PART}")]:
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


def is_full(error: BaseException | None) -> bool:
    """Whether writing failed for want of room: a full disk, a quota, a limit on the size of files.

    Example:
        >>> is_full(OSError(errno.ENOSPC, "No space left on device"))
        True
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        # Libraries that write by themselves pass on the system's text only.
        if any(os.strerror(number) in str(error) for number in FULL):
            return True
        error = error.__cause__ or error.__context__
    return False


def disk_full(path: Path) -> OSError:
    """The error for a file for which there is no room."""
    kept = "What was there before is unchanged" if path.exists() else "Nothing was left behind"
    return OSError(
        errno.ENOSPC,
        f"Expected room on the disk for {path}, but it is full, or a quota or a limit on file sizes is reached. "
        f"{kept}. Make room and go on from the last checkpoint: resume=<run folder>",
    )
