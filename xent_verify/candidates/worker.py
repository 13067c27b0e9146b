"""The child: loads the target, then answers one batch after another over two inherited pipes.

Started as ``python -m xent_verify.candidates.worker READ_FD WRITE_FD CONFIG``. The target's stdout and stderr are a memory
file, so nothing it prints can get between the frames.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from dataclasses import replace
from typing import Any

from xent_verify.candidates import codec
from xent_verify.candidates.adapters import adapter_for
from xent_verify.candidates.resolve import load
from xent_verify.candidates.runner import Runner
from xent_verify.failures import UsageError
from xent_verify.model import Raised, Returned

_PRINTED_LIMIT = 2000
_PR_SET_PDEATHSIG = 1


def main() -> None:
    source, sink = int(sys.argv[1]), int(sys.argv[2])
    config = json.loads(sys.argv[3])
    _die_with_parent()
    try:
        runner = _runner(config)
    except UsageError as error:
        _write(sink, codec.pack({"kind": "usage", "message": str(error)}, {}))
        return
    _write(sink, codec.pack({"kind": "ready", "style": runner.style.to_plain()}, {}))
    while (frame := _read_frame(source)) is not None:
        outcome = runner.run(codec.decode_batch(*frame))
        printed = _printed()
        if printed and isinstance(outcome, Returned):
            outcome = replace(outcome, printed=printed)
        try:
            _write(sink, codec.outcome_frame(outcome))
        except (TypeError, ValueError) as error:  # a result that cannot be put on the wire
            _write(sink, codec.outcome_frame(Raised(type(error).__name__, str(error))))


def _runner(config: dict[str, Any]) -> Runner:
    function = load(config["target"], config["op"])
    adapter = adapter_for(config["arrays"], function, config["target"])
    try:
        return Runner(function, config["op"], adapter, device=config["device"], extra=config["kwargs"])
    except Exception as error:
        raise UsageError(f"target {config['target']}: cannot be prepared ({type(error).__name__}: {error})") from error


def _die_with_parent() -> None:
    """On Linux the kernel ends this process with its parent; elsewhere the closed pipe does."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _read_frame(source: int) -> codec.Decoded | None:
    head = _read(source, codec.HEAD.size)
    if head is None:
        return None
    text = _read(source, codec.HEAD.unpack(head)[0])
    if text is None:
        return None
    header = json.loads(text)
    buffers = [_read(source, spec["bytes"]) for spec in header["arrays"]]
    return header, [buffer for buffer in buffers if buffer is not None]


def _read(source: int, count: int) -> Any:
    """Exactly ``count`` bytes (writable), or None at the end of the pipe."""
    buffer = bytearray(count)
    view = memoryview(buffer)
    done = 0
    while done < count:
        got = os.readv(source, [view[done:]])
        if not got:
            return None
        done += got
    return buffer


def _write(sink: int, buffers: list[Any]) -> None:
    for buffer in buffers:
        view = memoryview(buffer)
        while len(view):
            view = view[os.write(sink, view) :]


def _printed() -> str:
    """What the target wrote to stdout or stderr since the last call."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # noqa: BLE001, PERF203  the target may have closed or replaced its streams
            continue
    try:
        size = os.fstat(1).st_size
        if not size:
            return ""
        text = os.pread(1, _PRINTED_LIMIT, 0).decode("utf-8", "replace")
        os.ftruncate(1, 0)
        os.lseek(1, 0, os.SEEK_SET)
    except OSError:
        return ""
    return text


if __name__ == "__main__":
    main()
