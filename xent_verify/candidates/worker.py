"""The child: loads the target, then answers one batch after another over two inherited pipes.

Started by ``isolate`` with the descriptors of its pipes. The target's stdout and stderr are a memory file, so nothing
it prints can get between the frames. A third pipe, in which nothing is ever written, ends the whole process group when
the parent's end of it closes, however the parent ended (a thread could not do that, since the target may hold the
interpreter, and Linux's parent-death signal follows the parent's *thread*).
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from xent_verify.candidates import codec, state
from xent_verify.candidates.adapters import adapter_named, compiles
from xent_verify.candidates.answers import raised
from xent_verify.candidates.calling import Calling
from xent_verify.candidates.opening import opened
from xent_verify.candidates.runner import Runner
from xent_verify.candidates.wire import Ended, read_exactly, widen, write_all
from xent_verify.core.failures import MissingExtraError, UsageError
from xent_verify.core.model import Malformed, Returned

__all__ = ["main"]

_PRINTED_LIMIT = 2000
_REQUEST_LIMIT = 2**40
_F_SETSIG = 10
_AT_IMPORT = ("NumPy error state", "floating-point mode")


def main(source: int, sink: int, lifeline: int) -> None:
    """Answer until the parent closes its end."""
    _die_with_parent(lifeline)
    _be_first_to_go()
    faulthandler.enable()
    widen(sink)
    os.set_blocking(source, False)
    with contextlib.suppress(Ended):
        config, _ = _frame(source)
        runner = _ready(config, sink)
        if runner is not None:
            _serve(runner, source, sink)


def _serve(runner: Runner, source: int, sink: int) -> None:
    me = os.getpid()
    while True:
        frame = _frame(source)
        number = frame[0]["number"]
        outcome = runner.run(codec.decode_batch(frame))
        _only_the_original(me)
        printed = _printed()
        if printed and isinstance(outcome, Returned):
            outcome = replace(outcome, printed=printed)
        try:
            buffers = codec.outcome_frame(outcome, number)
        except Exception as error:  # noqa: BLE001  a result that cannot be put on the wire
            buffers = codec.outcome_frame(Malformed(f"a result that cannot be read ({raised(error).message})"), number)
        write_all(sink, buffers)


def _ready(config: Mapping[str, Any], sink: int) -> Runner | None:
    """Load the target and say so; find out how to call it, in calls that may end this process, and say that."""
    me = os.getpid()
    sys.path[:] = config["path"]
    before = {name: value for name, value in state.snapshot().items() if name in _AT_IMPORT}
    try:
        calling = Calling.from_plain(config["calling"])
        target = opened(config["target"], config["op"], config["arrays"], config["device"], config["kwargs"], calling)
        write_all(sink, codec.pack({"kind": "loaded", "compiles": compiles()}, {}))
        importlib.import_module("numpy.random")  # loaded on first use: its state is to be known before that
        function, arrays, style, extra = target.planned(config["style"], ask=config["ask"])
        adapter = adapter_named(arrays, config["device"])
        _only_the_original(me)
    except UsageError as error:
        extra_needed = [error.package, error.extra] if isinstance(error, MissingExtraError) else None
        write_all(sink, codec.pack({"kind": "usage", "message": str(error), "extra": extra_needed}, {}))
        return None
    _printed()
    write_all(
        sink, codec.pack({"kind": "ready", "style": style.to_plain(), "arrays": arrays, "compiles": compiles()}, {})
    )
    return Runner(
        function, adapter, style, extra=extra, alone=True, in_place=calling.in_place, at_import=state.changes(before)
    )


def _only_the_original(pid: int) -> None:
    """Where a target forks and its copy comes back too, the copy ends here."""
    if os.getpid() != pid:
        os._exit(0)


def _frame(source: int) -> codec.Frame:
    return codec.read_frame(lambda count: read_exactly(source, count), _REQUEST_LIMIT)


def _die_with_parent(lifeline: int) -> None:
    """On Linux the kernel kills this process group when the parent's end of the pipe closes; elsewhere reading ends."""
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
            fcntl.fcntl(lifeline, _F_SETSIG, signal.SIGKILL)
            fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)


def _be_first_to_go() -> None:
    """Should memory run out before the parent's watch sees it, this process is the one to end."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _printed() -> str:
    """What the target wrote to stdout or stderr since the last call."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # the target may have closed or replaced its streams
            stream.flush()
    try:
        if not os.fstat(1).st_size:
            return ""
        text = os.pread(1, _PRINTED_LIMIT, 0).decode("utf-8", "replace")
        os.ftruncate(1, 0)
        os.lseek(1, 0, os.SEEK_SET)
    except OSError:
        return ""
    return text
