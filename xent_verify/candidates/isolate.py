"""The parent's side of a target in a child process: time and memory limits, restart after a crash, no orphans."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

from xent_verify.candidates import codec
from xent_verify.candidates.signature import Style
from xent_verify.failures import UsageError
from xent_verify.model import Batch, Died, Outcome, TimedOut

__all__ = ["Child"]

_IMPORT_SECONDS = 120.0
_WATCH_SECONDS = 0.05
_PIPE_BYTES = 2**20
_F_SETPIPE_SZ = 1031


class _Ended(Exception):  # noqa: N818  control flow inside this module
    """The child is gone, or broke the protocol."""


class _Late(Exception):  # noqa: N818  control flow inside this module
    """The child did not answer in time."""


class Child:
    """A child process that holds one target. ``call`` gives an outcome whatever happens in there."""

    def __init__(
        self, target: str, op: str, *, arrays: str, device: str, timeout: float, memory_mb: int | None, kwargs: Mapping[str, Any]
    ) -> None:
        self._config = {"target": target, "op": op, "arrays": arrays, "device": device, "kwargs": dict(kwargs)}
        self._timeout = timeout
        self._memory = memory_mb
        self._process: subprocess.Popen[bytes] | None = None
        self._over_memory = False
        self.style = self._start()

    def _start(self) -> Style:
        to_child, from_child = os.pipe(), os.pipe()
        printed = os.memfd_create("printed") if hasattr(os, "memfd_create") else os.open(os.devnull, os.O_RDWR)
        arguments = [str(to_child[0]), str(from_child[1]), json.dumps(self._config)]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "xent_verify.candidates.worker", *arguments],
                pass_fds=(to_child[0], from_child[1]),
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
                start_new_session=True,
            )
        finally:
            for fd in (to_child[0], from_child[1], printed):
                os.close(fd)
        self._sink, self._source = to_child[1], from_child[0]
        _widen(self._sink)
        _widen(self._source)
        return self._handshake()

    def _handshake(self) -> Style:
        target = self._config["target"]
        try:
            header, _ = self._receive(max(_IMPORT_SECONDS, self._timeout))
        except _Late:
            self.close()
            raise UsageError(f"importing {target} did not finish within {_IMPORT_SECONDS:g} s") from None
        except _Ended:
            raise UsageError(f"importing {target} ended the process ({self._how()})") from None
        if header["kind"] == "usage":
            self.close()
            raise UsageError(str(header["message"]))
        return Style.from_plain(header["style"])

    def call(self, batch: Batch) -> Outcome:
        """Send one batch and wait for its outcome."""
        if self._process is None:
            self._start()
        self._over_memory = False
        try:
            self._send(codec.batch_frame(batch))
            header, buffers = self._receive(self._timeout)
            return codec.decode_outcome(header, buffers)
        except _Late:
            self.close()
            return TimedOut(self._timeout)
        except (_Ended, KeyError, ValueError, TypeError):
            how = f"memory limit of {self._memory} MB" if self._over_memory else self._how()
            self.close()
            return Died(how)
        except BaseException:
            self.close()
            raise

    def _send(self, buffers: list[Any]) -> None:
        deadline = time.monotonic() + self._timeout
        for buffer in buffers:
            view = memoryview(buffer)
            while len(view):
                self._wait(self._sink, deadline, write=True)
                try:
                    view = view[os.write(self._sink, view[:_PIPE_BYTES]) :]
                except OSError as error:
                    raise _Ended from error

    def _receive(self, seconds: float) -> codec.Decoded:
        deadline = time.monotonic() + seconds
        size = codec.HEAD.unpack(self._read(codec.HEAD.size, deadline))[0]
        if size > 2**28:
            raise _Ended
        header = json.loads(bytes(self._read(size, deadline)))
        return header, [self._read(int(spec["bytes"]), deadline) for spec in header["arrays"]]

    def _read(self, count: int, deadline: float) -> bytearray:
        buffer = bytearray(count)
        view = memoryview(buffer)
        done = 0
        while done < count:
            self._wait(self._source, deadline, write=False)
            got = os.readv(self._source, [view[done:]])
            if not got:
                raise _Ended
            done += got
        return buffer

    def _wait(self, fd: int, deadline: float, *, write: bool) -> None:
        """Until the pipe is ready; watch time and memory meanwhile."""
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise _Late
            pause = min(left, _WATCH_SECONDS)
            ready = select.select([], [fd], [], pause)[1] if write else select.select([fd], [], [], pause)[0]
            if ready:
                return
            if self._memory is not None and self._resident_mb() > self._memory:
                self._over_memory = True
                raise _Ended

    def _resident_mb(self) -> float:
        if self._process is None:
            return 0.0
        try:
            with open(f"/proc/{self._process.pid}/statm") as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
        except (OSError, ValueError, IndexError):
            return 0.0

    def _how(self) -> str:
        """How the child ended, in words."""
        if self._process is None:
            return "already closed"
        try:
            status = self._process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            return "broke off the conversation"
        if status >= 0:
            return f"exit status {status}"
        with contextlib.suppress(ValueError):
            return f"signal {-status} ({signal.Signals(-status).name})"
        return f"signal {-status}"

    def close(self) -> None:
        """End the child and everything in its process group."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for fd in (self._sink, self._source):
            with contextlib.suppress(OSError):
                os.close(fd)


def _widen(fd: int) -> None:
    """A larger pipe, where the system allows it."""
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, _F_SETPIPE_SZ, _PIPE_BYTES)
