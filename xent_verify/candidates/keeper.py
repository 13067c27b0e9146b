"""The process between the caller and a target's process: it keeps the target's family together, and ends all of it.

It starts before anything else is imported, forks the target's process, and stays. On Linux it is the one to which processes
come whose parent ended (a subreaper), so that a daemon of the target (two forks and a session of its own) remains below
it. It ends the whole family when the target's process ends or the caller's end of a pipe closes, however the caller ended;
it ends it too where the family holds more memory than it may, and it cuts what they print while they print it. What a target
sends to its parent (SIGINT, SIGTERM, …) comes here and is ignored.

This file runs by itself, with Python's own modules alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["MARK", "end_family", "main", "marked"]

MARK = "XENT_VERIFY_CHILD"
"""The environment variable that tells the processes of one target from all others."""

_HEAD = 2000
_PRINTED_LIMIT = 2**24
"""Bytes of printed text above which all but its head goes."""

_WATCH_SECONDS = 0.05
_ENDING_SECONDS = 3.0
_SHARE = 20
"""So many times as long as looking at the whole family takes must pass before the next look."""

_PDEATHSIG, _DUMPABLE, _SUBREAPER = 1, 4, 36
_STATE, _PARENT = 0, 1


def main(root: str, memory_mb: int, source: int, sink: int, lifeline: int, ending: int) -> None:
    """Fork the target's process and keep it; only that process comes back from here.

    Args:
        root: The folder from which the package is imported.
        memory_mb: Resident memory that the family may have.
        source: The pipe of questions.
        sink: The pipe of answers.
        lifeline: A pipe that closes when the caller ends.
        ending: A pipe in which is said why the family was ended.
    """
    me = os.getpid()
    _control(_SUBREAPER, 1)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    worker = os.fork()
    if worker:
        for fd in (source, sink):
            os.close(fd)
        _Keeper(worker, memory_mb, lifeline, ending).run()
    os.close(ending)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _control(_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != me:
        os._exit(1)
    os.setsid()
    sys.path.insert(0, root)
    from xent_verify.candidates import worker as target

    target.main(source, sink, lifeline)


class _Keeper:
    """The watch over one worker and what comes from it."""

    def __init__(self, worker: int, memory_mb: int, lifeline: int, ending: int) -> None:
        self._worker = worker
        self._memory = memory_mb
        self._lifeline, self._ending = lifeline, ending
        self._next_look = 0.0
        self._status: int | None = None

    def run(self) -> None:
        """Until there is nothing left to keep; does not return."""
        for number in signal.valid_signals() - {signal.SIGCHLD}:
            with contextlib.suppress(OSError, ValueError):  # two of them cannot be ignored
                signal.signal(number, signal.SIG_IGN)
        wake, woken = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(woken, False)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        while True:
            self._reap()
            if self._status is not None:
                self._end()
                if select.select([self._lifeline], [], [], 0)[0]:
                    os._exit(0)
                _end_as(self._status)
            if self._too_large():
                said = f"memory limit of {self._memory} MB (--memory allows more)"
                os.write(self._ending, said.encode())
                self._end()
                os._exit(1)
            _cut_printed()
            ready = select.select([self._lifeline, wake], [], [], _WATCH_SECONDS)[0]
            if self._lifeline in ready:
                self._end()
                os._exit(0)
            with contextlib.suppress(BlockingIOError):
                os.read(wake, 4096)

    def _reap(self) -> None:
        """Take leave of every process that ended; know how the worker did."""
        with contextlib.suppress(ChildProcessError):  # there is none
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self._worker:
                    self._status = ended[1]

    def _end(self) -> None:
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if self._status is None:
                    kill(self._worker, signal.SIGKILL)
        end_family(lambda: _below(os.getpid()), self._reap)

    def _too_large(self) -> bool:
        if _resident_mb(self._worker) > self._memory:
            return True
        began = time.monotonic()
        if began < self._next_look:
            return False
        family = _below(os.getpid())
        large = sum(map(_resident_mb, family)) > self._memory and sum(map(_own_mb, family)) > self._memory
        now = time.monotonic()
        self._next_look = now + max(_SHARE * (now - began), 4 * _WATCH_SECONDS)
        return large


def end_family(family: Callable[[], list[int]], reap: Callable[[], None] = lambda: None) -> None:
    """Kill the processes that ``family`` finds until it finds none three times (one may be between fork and exec), or for
    three seconds."""
    deadline, empty = time.monotonic() + _ENDING_SECONDS, 0
    while empty < 3 and time.monotonic() < deadline:
        living = family()
        empty = 0 if living else empty + 1
        for pid in living:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        reap()
        time.sleep(0.002)
    reap()


def marked(mark: str) -> list[int]:
    """Living processes whose environment was given this ``MARK``."""
    wanted, found = f"{MARK}={mark}".encode(), []
    for pid in _all():
        with contextlib.suppress(OSError):
            if wanted in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                found.append(pid)
    return found


def _below(ancestor: int) -> list[int]:
    """Every living process below one."""
    children: dict[int, list[int]] = {}
    ended = set()
    for pid in _all():
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
            children.setdefault(int(fields[_PARENT]), []).append(pid)
            if fields[_STATE] in (b"Z", b"X"):
                ended.add(pid)
    found, left = [], [ancestor]
    while left:
        below = children.get(left.pop(), [])
        found += below
        left += below
    return [pid for pid in found if pid not in ended]


def _all() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208  (many, and often)
    except OSError:
        return []


def _resident_mb(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except (OSError, ValueError, IndexError):
        return 0.0


def _own_mb(pid: int) -> float:
    """Resident memory, of pages that several processes share a part each."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 2**10
    except (OSError, ValueError, IndexError, StopIteration):
        return _resident_mb(pid)


def _cut_printed() -> None:
    """Let go of all but the head of a long printed text; writing goes on behind it."""
    with contextlib.suppress(OSError):
        if os.fstat(1).st_blocks * 512 > _PRINTED_LIMIT:
            head = os.pread(1, _HEAD, 0)
            os.ftruncate(1, 0)
            os.pwrite(1, head, 0)
            os.lseek(1, len(head), os.SEEK_SET)


def _end_as(status: int) -> None:
    """End as another process did, by its signal or with its status."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        _control(_DUMPABLE, 0)
        with contextlib.suppress(OSError):
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status))


def _control(option: int, value: int) -> None:
    """Linux's prctl; nothing elsewhere."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
