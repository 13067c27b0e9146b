"""The processor's floating-point mode: what every proof assumes, seen in arithmetic, and set right where that is possible.

A thread rounds to nearest and keeps subnormal numbers unless somebody changed its mode: a library built with
``-ffast-math`` does when it is loaded, ``torch.set_flush_denormal`` and C's ``fesetround`` do on request. The mode belongs
to the thread; new threads and forked processes inherit it.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import sys
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

import numpy as np

from xent_verify.core.failures import UsageError

__all__ = ["SOUND", "default_mode", "mode", "set_default", "sound"]

P = ParamSpec("P")
R = TypeVar("R")

SOUND = (False, False)
"""``mode()`` of a thread that keeps subnormal numbers and rounds to nearest."""

_TINY, _NORMAL, _HALF = np.float64(5e-324), np.float64(2.0**-1022), np.float64(0.5)
_ONE, _QUARTER = np.float64(1.0), np.float64(2.0**-54)
_ENVIRONMENT_BYTES = 256  # more than any fenv_t


def mode() -> tuple[bool, bool]:
    """(subnormal operands or results count as zero, rounding is not to nearest), as this thread's arithmetic shows."""
    flushes = bool(_TINY + _TINY == 0) or bool(_NORMAL * _HALF == 0)
    return flushes, bool(_ONE + _QUARTER != 1) or bool(_ONE - _QUARTER != 1)


@functools.cache
def _libm() -> ctypes.CDLL | None:
    """The C library's functions for the mode, where FE_DFL_ENV is known to be the pointer -1 (glibc and musl)."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            return ctypes.CDLL("libm.so.6")
    return None


def set_default() -> bool:
    """Set this thread to round to nearest and to keep subnormal numbers; whether that worked."""
    libm = _libm()
    if libm is not None:
        libm.fesetenv(ctypes.c_void_p(-1))
    return mode() == SOUND


@contextlib.contextmanager
def default_mode() -> Iterator[None]:
    """The default mode within, the thread's own one after; ``UsageError`` where it cannot be had."""
    libm = _libm()
    found = ctypes.create_string_buffer(_ENVIRONMENT_BYTES)
    changed = mode() != SOUND
    if changed:
        if libm is not None:
            libm.fegetenv(found)
        if not set_default():
            raise UsageError(_refusal("and could not be set right"))
    try:
        yield
    finally:
        if changed and libm is not None:
            libm.fesetenv(found)


def _refusal(why: str) -> str:
    what = "does not round to nearest" if mode()[1] else "flushes subnormal numbers to zero"
    return (
        f"this thread's floating-point mode {what}, {why}: certified values need IEEE arithmetic "
        "(a library built with -ffast-math, torch.set_flush_denormal or fesetround may have set it)"
    )


def sound(function: Callable[P, R]) -> Callable[P, R]:
    """The function, run in the default mode from beginning to end: once more where something changed it meanwhile."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        if mode() == SOUND:
            result = function(*args, **kwargs)
            if mode() == SOUND:
                return result
        with default_mode():
            result = function(*args, **kwargs)
            if mode() != SOUND:
                raise UsageError(_refusal("since something changes it meanwhile"))
            return result

    return wrapped
