"""One call made again and again, or in several threads at once: the first answer that differs."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["at_once", "repeated"]

SECONDS = 1.0
"""Processor time after which a call is not made again; threads share as much, by the clock."""

_SWITCH = 1e-5
"""Seconds between two threads' turns while they are watched."""


def repeated(call: Callable[[], Any], bits: Callable[[Any], bytes], times: int) -> Any:
    """The first answer with other bits than the first one, else the last."""
    value = call()
    known, began, end = bits(value), time.perf_counter(), time.thread_time() + SECONDS
    for number in range(1, times):
        value = call()
        if bits(value) != known:
            break
        if number % 64 == 0 and (time.thread_time() > end or time.perf_counter() > began + 8 * SECONDS):
            break
    return value


def at_once(calls: Sequence[Callable[[], Any]], bits: Callable[[Any], bytes], times: int) -> tuple[int, Any]:
    """(thread, answer): one whose bits differ from those that the same call gave while it was alone, else the first's."""
    alone = [call() for call in calls]
    known = [bits(value) for value in alone]
    differing: list[tuple[int, Any]] = []
    raised: list[BaseException] = []
    end = time.perf_counter() + SECONDS

    def run(place: int) -> None:
        try:
            for _ in range(times):
                value = calls[place]()
                if bits(value) != known[place]:
                    differing.append((place, value))
                if differing or raised or time.perf_counter() > end:
                    return
        except BaseException as error:  # noqa: BLE001  (raised again below, in the thread that asked)
            raised.append(error)

    threads = [threading.Thread(target=run, args=(place,), daemon=True) for place in range(len(calls))]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    if raised:
        raise raised[0]
    return differing[0] if differing else (0, alone[0])
