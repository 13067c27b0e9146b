"""The one writer of files: checked before the work, written beside the old file, put in its place as a whole."""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from xent_verify.core.failures import UsageError

__all__ = ["check_folder", "check_writable", "locked", "replace_file", "replacing", "state_of"]

_NAME = 200
"""Letters of a file's name that its temporary twin has."""
_END = ".partial"


def replace_file(path: str | os.PathLike[str], content: bytes | str) -> Path:
    """Write a file as a whole: whoever reads it finds the old content or the new one.

    Args:
        path: Where. Links are followed; a pipe or a device (``/dev/stdout``) is written to as it is.
        content: Bytes, or text, which is written as UTF-8.

    Returns:
        The path.

    Raises:
        UsageError: It cannot be written (full, read-only, no folder). A file that was there is left as it was.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     replace_file(Path(folder) / "a.txt", "one").read_text()
    'one'
    """
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)
    return Path(path)


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A file to write into that takes the place of ``path`` when all is written, and is removed when something fails.

    One that a killed process left is removed by the next who writes there: a writer holds its own locked.

    Raises:
        UsageError: It cannot be written; also for an ``OSError`` of the code that writes.
    """
    try:
        place = Path(os.path.realpath(path))
        mode = _mode(place)
        if mode is not None and not stat.S_ISREG(mode):
            with place.open("wb") as file:
                yield file
            return
        _clear(place)
        handle, partial = _begun(place)
        try:
            with os.fdopen(handle, "wb") as file:
                if mode is not None:
                    os.fchmod(file.fileno(), stat.S_IMODE(mode))
                yield file
                file.flush()
                os.fsync(file.fileno())
                partial.replace(place)
        except BaseException:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None


def locked(handle: int, path: Path) -> bool:
    """Lock an open file for this process, without waiting; False where another holds it or ``path`` is no longer that file.

    The lock ends with the descriptor, so that none outlives its process.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        there = path.stat()
    except (BlockingIOError, FileNotFoundError):
        return False
    return os.path.samestat(os.fstat(handle), there)


def _begun(place: Path) -> tuple[int, Path]:
    """A new file beside ``place``, open and locked."""
    while True:
        partial = place.with_name(f".{place.name[:_NAME]}.{secrets.token_hex(4)}{_END}")
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            if locked(handle, partial):
                return handle, partial
        except OSError:  # a file system without locks
            return handle, partial
        os.close(handle)


def _clear(place: Path) -> None:
    """Remove what processes that are gone have left beside ``place``."""
    start = f".{place.name[:_NAME]}."
    with suppress(OSError):
        left = [name for name in os.listdir(place.parent) if name.startswith(start) and name.endswith(_END)]  # noqa: PTH208
        for partial in map(place.with_name, left):
            with suppress(OSError), os.fdopen(os.open(partial, os.O_WRONLY), "wb") as file:
                if locked(file.fileno(), partial):
                    partial.unlink()


def check_writable(path: str | os.PathLike[str]) -> None:
    """Refuse before the work what could not be written after it: a folder that is missing, closed or read-only.

    Raises:
        UsageError: With the path and the reason.
    """
    try:
        place = Path(os.path.realpath(path))
        mode = _mode(place)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None
    if mode is not None and stat.S_ISDIR(mode):
        raise UsageError(f"cannot write {path}: it is a folder; name a file")
    if mode is not None and not stat.S_ISREG(mode):
        return
    if not place.parent.is_dir():
        raise UsageError(f"cannot write {path}: there is no folder {place.parent}")
    if not os.access(place.parent, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write {path}: the folder {place.parent} is not writable")


def check_folder(path: str | os.PathLike[str]) -> None:
    """Refuse before the work a folder that could not be made or written into after it.

    Raises:
        UsageError: With the path and the reason.
    """
    place = Path(os.path.realpath(path))
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise UsageError(f"cannot write {path}: {place} is not a folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write {path}: the folder {place} is not writable")


def state_of(path: str | os.PathLike[str]) -> tuple[int, ...]:
    """What tells whether a file was written since: empty where there is none."""
    try:
        found = Path(path).stat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _mode(place: Path) -> int | None:
    try:
        return place.stat().st_mode
    except FileNotFoundError:
        return None
