"""The one writer of files: checked before the work, written beside the old file, put in its place as a whole."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from xent_verify.core.failures import UsageError

__all__ = ["check_folder", "check_writable", "replace_file", "replacing", "state_of"]

_NAME = 200
"""Letters of a file's name that its temporary twin has."""


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
        partial = place.with_name(f".{place.name[:_NAME]}.{secrets.token_hex(4)}.partial")
        try:
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
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
