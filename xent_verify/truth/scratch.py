"""Arrays for intermediate results, used again and again: fresh ones, unless small, cost more than the arithmetic done in them.

Each thread has its own. The last ones given back are the first ones handed out, so that they stay in the cache.
"""

from __future__ import annotations

import math
from threading import local
from types import TracebackType

import numpy as np

from xent_verify.core.formats import FloatArray

__all__ = ["Scratch"]

_SMALL, _LARGEST = 1 << 11, 1 << 16


class _Pool(local):
    def __init__(self) -> None:
        self.free: list[FloatArray] = []


_POOL = _Pool()


class Scratch:
    """``with Scratch(shape, count) as (a, b, ...)``: arrays of any content, to be forgotten at the end of the block."""

    __slots__ = ("_count", "_shape", "_taken")

    def __init__(self, shape: tuple[int, ...], count: int) -> None:
        self._shape, self._count = shape, count

    def __enter__(self) -> list[FloatArray]:
        free, size = _POOL.free, math.prod(self._shape)
        if size <= _SMALL:
            self._taken = []
            return [np.empty(self._shape) for _ in range(self._count)]
        kept = [free.pop() if free else np.empty(0) for _ in range(self._count)]
        self._taken = [a if a.size >= size else np.empty(max(size, min(2 * a.size, _LARGEST))) for a in kept]
        return [a[:size].reshape(self._shape) for a in self._taken]

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        _POOL.free += [a for a in reversed(self._taken) if a.size <= _LARGEST]
