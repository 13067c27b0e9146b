"""The three signals that ask a program to end, as one: what is done is kept, what runs is ended, and the exit tells which it was.

A first SIGINT (Ctrl-C), SIGTERM (a scheduler, ``timeout``) or SIGHUP (a terminal that closes) becomes a
``KeyboardInterrupt`` where the work is; in ``finishing`` it waits until what is written there is written. A second one ends
the process at once.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

__all__ = ["SIGNALS", "exit_status", "finishing", "listening", "raise_pending"]

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_STREAMS = (0, 1, 2)
_ECHO_SECONDS = 0.3
"""So soon after the first a signal is the same one: a shell or a wrapper passes on what the whole group was sent."""


@dataclass
class _Heard:
    """What was heard so far; ``writing``: how many blocks of ``finishing`` are open; ``terminals``: streams that were one."""

    number: int = 0
    when: float = 0.0
    writing: int = 0
    terminals: tuple[int, ...] = ()


_heard = _Heard()


class Interrupted(KeyboardInterrupt):
    """One of the signals. A class of its own: where a plain ``KeyboardInterrupt`` passes through ``exec`` of a text (in an import
    of dataclasses), Python ends the process by SIGINT, whoever catches it.
    """


@contextmanager
def listening() -> Iterator[None]:
    """Hear the signals while the body runs; what was ignored before (``nohup``, a job in the background) stays so.

    Outside the main thread, where no handler can be set, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    _heard.number, _heard.terminals = 0, tuple(filter(_is_terminal, _STREAMS))
    try:
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, _hear)
        yield
    finally:
        with finishing():
            for number, handler in before.items():
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)


@contextmanager
def finishing() -> Iterator[None]:
    """A body that is not broken off by a first signal: the writing of what is done."""
    _heard.writing += 1
    try:
        yield
    finally:
        _heard.writing -= 1


def raise_pending() -> None:
    """``Interrupted`` where one was raised before and something swallowed it (a target's ``except:``)."""
    if _heard.number and not _heard.writing:
        raise Interrupted


def exit_status(status: int) -> int:
    """128 and the number of the signal that was heard; ``status`` where none was."""
    return 128 + _heard.number if _heard.number else status


def _hear(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  (a handler's signature)
    if _heard.number and time.monotonic() - _heard.when < _ECHO_SECONDS:
        return
    if _heard.number:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        return
    _heard.number, _heard.when = number, time.monotonic()
    if number == getattr(signal, "SIGHUP", None):
        _leave_terminals()
    if not _heard.writing:
        raise Interrupted


def _leave_terminals() -> None:
    """What would be printed on a terminal that is gone goes nowhere: writing there would raise in the middle of the rest."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in _heard.terminals:
        os.dup2(nowhere, stream)
    os.close(nowhere)


def _is_terminal(stream: int) -> bool:
    with suppress(OSError):
        return os.isatty(stream)
    return False
