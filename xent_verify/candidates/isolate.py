"""The parent's side of a target in a child process: time and memory limits, restart after a crash, no orphans."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import sysconfig
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xent_verify.candidates import codec, keeper
from xent_verify.candidates.calling import Calling
from xent_verify.candidates.style import Style
from xent_verify.candidates.wire import Ended, read_exactly, widen, write_all
from xent_verify.core.arrays import dtype_name
from xent_verify.core.failures import MissingExtraError, UsageError, clipped, printable
from xent_verify.core.model import Batch, Died, Malformed, Outcome, Returned, TimedOut

__all__ = ["Child"]

IMPORT_SECONDS = 120.0
_IMPORT_CALLS = 12
"""So many times the limit of one call may an import take, where that is more than ``IMPORT_SECONDS``."""
_AGAIN_SECONDS, _AGAIN_TIMES = 10.0, 5
"""An import that has succeeded may take so long again: a constant, and a multiple of the time that it took."""
_FAILED_STARTS = 3
"""After so many starts that failed, the target having been loaded once, it is not started any more."""
_WATCH_SECONDS = 0.05
_PROBE_CALLS = 3
"""So many times the limit of one call may all the small calls of the opening take."""
_COMPILING = 10
"""So many times the limit may a call take that is the first of its shapes, where the target's library compiles."""
_ANSWER_LIMIT = 2**34
_PRINTED_LIMIT = 4000
_CLOSING_SECONDS = 5.0
_ROOT = str(Path(__file__).resolve().parents[2])
_START = """
import runpy, sys
runpy.run_path(sys.argv[1])["main"](sys.argv[2], *map(int, sys.argv[3:]))
"""
_CRASH_WORDS = ("terminate called", "free()", "malloc()", "double free", "corrupt", "Assertion", "smashing", "panicked")


class _Late(Exception):  # noqa: N818  control flow inside this module
    """The child did not answer in time."""


class Child:
    """A child process that holds one target. ``call`` gives an outcome whatever happens in there.

    It starts twice at most for the opening: should the small calls that find out how to call the target end it, then
    its signature alone tells, and the audit's own calls meet the same end as outcomes.
    """

    def __init__(
        self,
        target: str,
        op: str,
        *,
        arrays: str,
        device: str,
        timeout: float,
        memory_mb: int,
        kwargs: Mapping[str, Any],
        calling: Calling = Calling(),  # noqa: B008  a frozen value
    ) -> None:
        self._target = target
        self._config = {
            "target": target, "op": op, "arrays": arrays, "device": device, "kwargs": dict(kwargs), "path": sys.path,
            "ask": True, "style": None, "calling": calling.to_plain(),
        }  # fmt: skip
        self._timeout = timeout
        self._memory = memory_mb
        self._process: subprocess.Popen[bytes] | None = None
        self._descriptors: tuple[int, ...] = ()
        self._number = 0
        self._ahead: tuple[Batch | None, Outcome | None] = (None, None)
        self._compiles = False
        self._importing = max(IMPORT_SECONDS, _IMPORT_CALLS * timeout)
        self._failed_starts = 0
        self._warm: set[tuple[Any, ...]] = set()  # calls of these shapes were answered
        self.style = self._opened()
        self.arrays = str(self._config["arrays"])

    def _opened(self) -> Style:
        self._start()
        found = self._handshake()
        if found is None:
            self._config["ask"] = False
            self._start()
            found = self._handshake()
        if found is None:
            raise UsageError(f"target {self._target}: its process ends before the first call ({self._last_words})")
        self._config |= {"arrays": found["arrays"], "style": found["style"]}
        self._compiles = bool(found["compiles"])
        return Style.from_plain(found["style"])

    def _start(self) -> None:
        """A fresh process, the target not yet loaded in it."""
        self.close()
        requests, answers, lifeline, ending = os.pipe(), os.pipe(), os.pipe(), os.pipe()
        printed = os.memfd_create("printed") if hasattr(os, "memfd_create") else os.open(os.devnull, os.O_RDWR)
        theirs = (requests[0], answers[1], lifeline[0], ending[1])
        self._mark = uuid.uuid4().hex
        try:
            self._process = subprocess.Popen(  # noqa: S603  this very interpreter
                [sys.executable, "-c", _START, keeper.__file__, _ROOT, str(self._memory), *map(str, theirs)],
                pass_fds=theirs,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
                start_new_session=True,
                env={**os.environ, keeper.MARK: self._mark},
            )
        finally:
            for fd in theirs:
                os.close(fd)
        self._sink, self._source, self._printed, self._ending = requests[1], answers[0], printed, ending[0]
        self._lifeline = lifeline[1]
        self._descriptors = (requests[1], answers[0], printed, ending[0])
        for fd in (self._sink, self._source, self._ending):
            os.set_blocking(fd, False)
        widen(self._sink)
        self._last_words = ""

    def _handshake(self) -> dict[str, Any] | None:
        """What the child found out, None when that ended it; ``UsageError`` when the target could not be loaded."""
        began, limit = time.monotonic(), self._importing
        try:
            write_all(self._sink, codec.pack(self._config, {}), self._until(limit))
            header = self._receive(self._until(limit))[0]
        except _Late:
            self.close()
            more = f"--timeout S allows {_IMPORT_CALLS} S seconds, where that is more"
            raise UsageError(f"importing {self._target} did not finish within {limit:g} s ({more})") from None
        except (Ended, KeyError, ValueError, TypeError):
            raise UsageError(f"importing {self._target} ended the process ({self._how()})") from None
        except BaseException:
            self.close()
            raise
        if header["kind"] == "loaded":
            took = time.monotonic() - began
            self._importing = min(self._importing, _AGAIN_SECONDS + _AGAIN_TIMES * took)
            patience = _PROBE_CALLS * self._timeout * (_COMPILING if header["compiles"] else 1)
            try:
                header = self._receive(self._until(patience if self._config["ask"] else IMPORT_SECONDS))[0]
            except _Late:
                self.close()
                self._last_words = f"the small calls that open it took more than {patience:g} s; --timeout allows more"
                return None
            except (Ended, KeyError, ValueError, TypeError):
                self._last_words = self._how()
                return None
            except BaseException:
                self.close()
                raise
        if header["kind"] == "usage":
            self.close()
            raise _usage(header)
        return header

    def begin(self, batch: Batch) -> None:
        """Send a batch for whose outcome ``call`` will wait: the child works while the caller does."""
        if self._process is not None:
            self._ahead = batch, self._attempted(lambda: self._send(batch))

    def call(self, batch: Batch) -> Outcome:
        """Send one batch, unless that is done, and wait for its outcome."""
        (begun, failed), self._ahead = self._ahead, (None, None)
        if begun is not batch:
            failed = self._attempted(lambda: self._send(batch))
        seconds = self._patience(batch)
        found = failed or self._attempted(lambda: self._answer(seconds), seconds) or Died("no answer")
        if isinstance(found, Returned):
            self._warm.add(_shapes(batch))
        return found

    def _patience(self, batch: Batch) -> float:
        """The limit of a call: a library that compiles does so at the first of its shapes."""
        cold = self._compiles and _shapes(batch) not in self._warm
        return self._timeout * (_COMPILING if cold else 1)

    def _attempted(self, step: Callable[[], Outcome | None], seconds: float = 0.0) -> Outcome | None:
        """A step of a call; how it ended where the child did not come through it."""
        try:
            return step()
        except _Late:
            self.close()
            return TimedOut(seconds or self._timeout)
        except Ended:
            return Died(self._how())
        except (KeyError, ValueError, TypeError) as error:
            self.close()
            return Malformed(
                f"its process answered with no frame of the protocol ({clipped(printable(str(error)), 120)})"
            )
        except BaseException:
            self.close()
            raise

    def _send(self, batch: Batch) -> Outcome | None:
        self._number += 1
        if self._process is None:
            why = self._started_again()
            if why:
                return Died(why)
        write_all(self._sink, codec.batch_frame(batch, self._number), self._until(self._timeout))
        return None

    def _started_again(self) -> str:
        """Why there is no process for the next call; "" where there is one."""
        if self._failed_starts >= _FAILED_STARTS:
            return f"it is not started any more after {_FAILED_STARTS} starts that failed"
        self._start()
        try:
            found = self._handshake()
        except UsageError as error:
            self._failed_starts += 1
            return f"it could not be started again: {error}"
        return self._last_words if found is None else ""

    def _answer(self, seconds: float) -> Outcome:
        """The outcome of the latest question; answers to earlier ones, which nobody waited for, are passed over."""
        wait, late = self._until(seconds), time.monotonic() + seconds
        while True:
            frame = self._receive(wait)
            if frame[0]["number"] == self._number:
                return codec.decode_outcome(frame)
            if time.monotonic() > late:  # a flood is always ready, so that no wait looks at the clock
                raise _Late
            if not 0 < frame[0]["number"] < self._number:
                raise ValueError("an answer to no question")

    def _receive(self, wait: Callable[[int, bool], None]) -> codec.Frame:
        return codec.read_frame(lambda count: read_exactly(self._source, count, wait), _ANSWER_LIMIT)

    def _until(self, seconds: float) -> Callable[[int, bool], None]:
        """A wait for a descriptor that watches the time and the life of the child."""
        deadline = time.monotonic() + seconds

        def wait(fd: int, write: bool) -> None:
            while True:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise _Late
                pause = min(left, _WATCH_SECONDS)
                if any(select.select([] if write else [fd], [fd] if write else [], [], pause)[:2]):
                    return
                self._watch()

        return wait

    def _watch(self) -> None:
        process = self._process
        if process is None or (process.poll() is not None and not select.select([self._source], [], [], 0)[0]):
            raise Ended  # a process that the target left behind may hold the pipe open

    def _how(self) -> str:
        """How the child ended, in words; it is closed then."""
        process = self._process
        if process is None or self._last_words:
            self.close()
            return self._last_words or "already closed"
        try:
            status = process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            self.close()
            return "broke off the conversation"
        printed = os.pread(self._printed, _PRINTED_LIMIT, max(0, os.fstat(self._printed).st_size - _PRINTED_LIMIT))
        said = ""
        with contextlib.suppress(BlockingIOError):
            said = os.read(self._ending, _PRINTED_LIMIT).decode("utf-8", "replace")
        self.close()
        return said or _ending(status) + _cause(printed.decode("utf-8", "replace"))

    def close(self) -> None:
        """End the child and everything that came from it, also what left its session (on Linux)."""
        process, self._process = self._process, None
        self._warm = set()
        if process is not None:
            os.close(self._lifeline)  # its keeper ends it then
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process.pid, signal.SIGCONT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=_CLOSING_SECONDS)
            if process.returncode != 0:  # the keeper may have ended before it came to that
                keeper.end_family(lambda: [pid for pid in keeper.marked(self._mark) if pid != process.pid])
            process.kill()
            process.wait()
        descriptors, self._descriptors = self._descriptors, ()
        for fd in descriptors:
            os.close(fd)


def _shapes(batch: Batch) -> tuple[Any, ...]:
    """What a compiler makes a program for."""
    inputs = tuple((value.shape, dtype_name(value.dtype)) for value in batch.inputs.values())
    options = tuple(
        (name, np.shape(value) if isinstance(value, np.ndarray) else repr(value))
        for name, value in sorted(batch.options.items())
    )
    return inputs, options, batch.layout


def _usage(header: Mapping[str, Any]) -> UsageError:
    if header["extra"]:
        package, extra = header["extra"]
        return MissingExtraError(str(package), str(extra), f"--arrays {extra}")
    return UsageError(str(header["message"]))


def _ending(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    with contextlib.suppress(ValueError):
        return f"signal {-status} ({signal.Signals(-status).name})"
    return f"signal {-status}"


def _cause(printed: str) -> str:
    """What the process said about its end: where Python was, a C library's complaint, an exception."""
    lines = [printable(line.strip()) for line in printed.splitlines() if line.strip()]
    said = next((line for line in lines if any(word in line for word in _CRASH_WORDS)), "")
    if any(line.startswith("Fatal Python error") for line in lines):
        return _place(lines) + (f": {said[:200]}" if said else "")
    if "Traceback (most recent call last):" in lines:
        said = said or lines[-1]
    return f": {said[:200]}" if said else ""


def _place(lines: list[str]) -> str:
    """The innermost frame outside the standard library, from faulthandler's lines."""
    frames = [line.removeprefix('File "').partition('", line ') for line in lines if line.startswith('File "')]
    library = sysconfig.get_paths()["stdlib"]
    for path, _, rest in frames:
        if not path.startswith(library) or "site-packages" in path:
            number, _, function = rest.partition(" in ")
            return f" in {function} ({Path(path).name}, line {number})"
    return ""
