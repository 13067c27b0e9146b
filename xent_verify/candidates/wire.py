"""Both ends of the conversation with a child: whole buffers over a pipe, with a deadline or without."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["Ended", "read_exactly", "widen", "write_all"]

_PIPE_BYTES = 2**20
_SMALL = 4096
_F_SETPIPE_SZ = 1031

Wait = Callable[[int, bool], None]
"""(descriptor, to write) -> when it is ready; may raise."""


class Ended(Exception):  # noqa: N818  control flow between the rooms of this package
    """The other side is gone."""


def _block(fd: int, write: bool) -> None:
    """Wait as long as it takes."""
    select.select([] if write else [fd], [fd] if write else [], [])


def read_exactly(fd: int, count: int, wait: Wait | None = None) -> Any:
    """``count`` bytes as a writable buffer, from a descriptor that does not block; ``Ended`` at the end of the pipe."""
    buffer = bytearray(count) if count < _SMALL else np.empty(count, np.uint8).data  # which is not written to first
    view, done = memoryview(buffer), 0
    while done < count:
        try:
            got = os.readv(fd, [view[done:]])
        except BlockingIOError:
            (wait or _block)(fd, False)
            continue
        if not got:
            raise Ended
        done += got
    return buffer


def write_all(fd: int, buffers: list[Any], wait: Wait | None = None) -> None:
    """Every byte of every buffer; ``Ended`` when nobody reads any more."""
    for buffer in buffers:
        view = memoryview(buffer)
        while len(view):
            try:
                view = view[os.write(fd, view) :]
            except BlockingIOError:
                (wait or _block)(fd, True)
            except OSError as error:
                raise Ended from error


def widen(fd: int) -> None:
    """A larger pipe, where the system allows it."""
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, _F_SETPIPE_SZ, _PIPE_BYTES)
