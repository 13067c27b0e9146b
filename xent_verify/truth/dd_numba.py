"""Tier 2 compiled: the kernels of ``dd_numpy`` as loops, for the extra ``fast`` (Numba).

The same operations on the same numbers as ``doubledouble.exp(full=False)`` and ``dd_numpy.softmax``: e**d agrees bit
for bit, so its budget is that of ``bounds.budget_fast``. No fast-math and no contraction: LLVM keeps every rounding.

T is summed as ``dd_numpy._extracted`` and ``doubledouble.tree_sum`` do: what they add without error may be added in lanes
here, what they round is rounded in their order. So results are NumPy's, bit for bit, which ``engines`` tries before use.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from xent_verify.core.formats import FloatArray
from xent_verify.truth import bounds, dd_numpy
from xent_verify.truth.loose import FAR, Loose
from xent_verify.truth.pieces import VANISHED
from xent_verify.truth.sink import Window
from xent_verify.truth.tables import tables

__all__ = ["Part", "log_softmax", "softmax", "whole"]

_T = tables()
_ROOT, _ROOT_LOW = _T.root, _T.root_low
_C1, _C2, _C3, _INVERSE = _T.c1, _T.c2, _T.c3, _T.inverse
_SPLITTER = 134217729.0
_LOWEST = -20000.0
_TINY = -(2.0**-300)
_SHIFT = dd_numpy.SCALE
_FLUSHED = -900
_FAR = FAR
_RADIUS = bounds.FAST_RADIUS
_UNIT = 2.0**_SHIFT
_DOWN = 2.0**-_SHIFT
_PART = 16384  # engines.FAST.block
_SMALL_LOG = 2.0 ** (_SHIFT - 200)
_BACK = 2.0 ** (-_SHIFT - 2)
_LEAST = -1022  # float64's e_min, the exponent of its smallest subnormal, 2**(precision - 1), and its top's binade
_QUANTUM = -1074
_HIDDEN = 2.0**52
_TOP = 2.0**1021

_inline = njit(inline="always", error_model="numpy")
_compiled = njit(error_model="numpy", nogil=True, cache=True)  # loops over one row stand alone: LLVM vectorises those


@_inline
def _two_sum(a, b):  # type: ignore[no-untyped-def]
    s = a + b
    v = s - a
    return s, (a - (s - v)) + (b - v)


@_inline
def _split(a):  # type: ignore[no-untyped-def]
    c = a * _SPLITTER
    top = c - (c - a)
    return top, a - top


@_inline
def _exp(d, rest):  # type: ignore[no-untyped-def]
    """doubledouble.exp, fast: (high, low, exponent)."""
    k = np.rint(d * _INVERSE)
    head = d - k * _C1
    top, bottom = _two_sum(head, k * -_C2)
    bottom += rest - k * _C3
    r, rest = _two_sum(top, bottom)
    index = np.int64(k)
    place = index & 255
    r1, r2 = _split(r)
    square = r * r
    error = ((r1 * r1 - square) + r1 * r2 + r2 * r1) + r2 * r2
    q = ((((r * (1 / 5040) + 1 / 720) * r + 1 / 120) * r + 1 / 24) * r + 1 / 6) * r * square
    error = error * 0.5 + r * rest
    square *= 0.5
    p = r + square
    p_low = (square - (p - r)) + ((error + q) + rest)
    root = _ROOT[place]
    root_low = _ROOT_LOW[place]
    b1, b2 = _split(root)
    a1, a2 = _split(p)
    a = p * root
    a_low = ((a1 * b1 - a) + a1 * b2 + a2 * b1) + a2 * b2
    a_low = ((a_low + p * root_low) + p_low * root) + root_low
    s = root + a
    e = (a - (s - root)) + a_low
    high = s + e
    return high, e - (high - s), index >> 8


@_inline
def _term(x, m):  # type: ignore[no-untyped-def]
    """e**(x - m): (high, low, exponent), and whether x - m < -20000, where it is held."""
    d, rest = _two_sum(x, -m)
    far = not d >= _LOWEST
    d = _LOWEST if far else d
    rest = 0.0 if far else rest
    d = 0.0 if d > _TINY else d
    high, low, k = _exp(d, rest)
    return high, low, k, far


@_inline
def _weight(k, tie):  # type: ignore[no-untyped-def]
    """2**(k + 500) for the sum, or 0."""
    weight = np.int64((max(k + _SHIFT, _FLUSHED) + 1023) << 52).view(np.float64)
    return np.float64(0.0) if tie else weight


@_compiled
def _largest(x):  # type: ignore[no-untyped-def]
    m = x[0]
    for j in range(x.size):
        m = x[j] if x[j] > m else m
    return m


@_compiled
def _ties(x, m, holes, masked, scaled, scaled_low):  # type: ignore[no-untyped-def]
    """Number of maximal logits; holes weigh nothing."""
    ties = 0
    for j in range(x.size):
        ties += 1 if x[j] == m else 0
    if masked:
        for j in range(x.size):
            if holes[j]:
                ties -= 1 if x[j] == m else 0
                scaled[j] = 0.0
                scaled_low[j] = 0.0
    return ties


@_compiled
def _drawn(high, s, lanes):  # type: ignore[no-untyped-def]
    """Sum of the leading parts of terms, as multiples of 2**-52 s (exact, in lanes); the terms keep the rest."""
    even = high.size // 8 * 8
    lanes[:] = 0.0
    for j in range(0, even, 8):
        for i in range(8):
            h = high[j + i]
            q = (h + s) - s
            high[j + i] = h - q
            lanes[i] += q
    for j in range(even, high.size):
        q = (high[j] + s) - s
        high[j] -= q
        lanes[0] += q
    total = 0.0
    for i in range(8):
        total += lanes[i]
    return total


@_compiled
def _fold(values):  # type: ignore[no-untyped-def]
    """doubledouble.folded."""
    width = values.size
    stop = 1 if width < 256 else 32
    while width > stop:
        half = (width + 1) // 2
        first, second = values[: width - half], values[half:width]
        for j in range(first.size):
            first[j] += second[j]
        width = half
    total = values[0]
    for j in range(1, width):
        total += values[j]
    return total


@_compiled
def _add_low(high, low):  # type: ignore[no-untyped-def]
    for j in range(high.size):
        high[j] += low[j]


@_compiled
def _extracted(high, low, lanes):  # type: ignore[no-untyped-def]
    """dd_numpy._extracted for one row."""
    n = high.size
    lanes[:] = 0.0
    even = n // 8 * 8
    for j in range(0, even, 8):
        for i in range(8):
            lanes[i] = high[j + i] if high[j + i] > lanes[i] else lanes[i]
    for j in range(even, n):
        lanes[0] = high[j] if high[j] > lanes[0] else lanes[0]
    top = 0.0
    for i in range(8):
        top = max(top, lanes[i])
    s = math.ldexp(1.0, math.frexp(top * n)[1] + 1)
    first = _drawn(high, s, lanes)
    length = 0
    while n >> length:
        length += 1
    second = _drawn(high, s * math.ldexp(3.0, length - 53), lanes)
    _add_low(high, low)
    a, b = _two_sum(first, second)
    b += _fold(high)
    total = a + b
    return total, b - (total - a)


@_compiled
def _sum(scaled, scaled_low, lanes):  # type: ignore[no-untyped-def]
    """Parts of 16384 terms, and doubledouble.tree_sum of what they add up to."""
    if scaled.size <= _PART:
        return _extracted(scaled, scaled_low, lanes)
    width = (scaled.size + _PART - 1) // _PART
    high = np.empty(width)
    low = np.empty(width)
    for i in range(width):
        some = slice(i * _PART, min((i + 1) * _PART, scaled.size))
        high[i], low[i] = _extracted(scaled[some], scaled_low[some], lanes)
    while width > 1:
        half = (width + 1) // 2
        for i in range(width - half):
            s, e = _two_sum(high[i], high[half + i])
            high[i] = s
            low[i] = (e + low[i]) + low[half + i]
        width = half
    total = high[0] + low[0]
    return total, low[0] - (total - high[0])


@_inline
def _all_but_one(total, total_low, ties):  # type: ignore[no-untyped-def]
    """dd_numpy.with_ties."""
    t, e = _two_sum(total, (ties - 1.0) * _UNIT)
    e += total_low
    high = t + e
    return high, e - (high - t)


@_inline
def _inverse(t, t_low):  # type: ignore[no-untyped-def]
    """dd_numpy.Row.inverse: 1 / (1 + T)."""
    s, e = _two_sum(1.0, t * _DOWN)
    e += t_low * _DOWN
    high = s + e
    low = e - (high - s)
    q = 1.0 / high
    q1, q2 = _split(q)
    h1, h2 = _split(high)
    p = q * high
    e = ((q1 * h1 - p) + q1 * h2 + q2 * h1) + q2 * h2
    r = ((1.0 - p) - e) - q * low
    c = q * (r + r * r)
    inverse = q + c
    return inverse, c - (inverse - q)


@_inline
def _open(high, low, k):  # type: ignore[no-untyped-def]
    """Loose._of_pairs for one value of float64, 2**-42 <= |high| < 2**900: whether it may be undecided."""
    reach = abs(high) * (2.0 * _RADIUS)
    ziv = (high + (low - reach) != high) | (high + (low + reach) != high)
    lowest = k < _LEAST + 44
    shift = np.int64(min(max(k - _QUANTUM, -200), 200) + 1023) << 52
    scale = np.int64(shift).view(np.float64)
    head = abs(high) * scale
    tail = (low if high > 0.0 else -low) * scale
    offset = abs((head - np.rint(head)) + tail)
    fixed = abs(offset - 0.5) <= head * (_RADIUS * 1.0001) + 2.0**-60
    return fixed if lowest & (head < _HIDDEN) else ziv


@_compiled
def _terms(x, m, high, low, exponent, scaled, scaled_low):  # type: ignore[no-untyped-def]
    """All terms of a row, and their copies for the sum."""
    for j in range(x.size):
        a, a_low, k, far = _term(x[j], m)
        weight = _weight(k, x[j] == m)
        high[j] = a
        low[j] = a_low
        exponent[j] = _FAR if far else k
        scaled[j] = a * weight
        scaled_low[j] = a_low * weight


@_compiled
def _copies(x, m, scaled, scaled_low):  # type: ignore[no-untyped-def]
    """The copies alone."""
    for j in range(x.size):
        a, a_low, k, _ = _term(x[j], m)
        weight = _weight(k, x[j] == m)
        scaled[j] = a * weight
        scaled_low[j] = a_low * weight


@_compiled
def _shares(high, low, exponent, open_, r, r_low):  # type: ignore[no-untyped-def]
    """dd_numpy.softmax of a row in the place of its terms, and which elements may be undecided."""
    r1, r2 = _split(r)
    for j in range(high.size):
        a = high[j]
        a1, a2 = _split(a)
        p = a * r
        e = ((a1 * r1 - p) + a1 * r2 + a2 * r1) + a2 * r2
        e = (e + a * r_low) + low[j] * r
        s = p + e
        e -= s - p
        high[j] = s
        low[j] = e
        open_[j] = _open(s, e, np.int64(exponent[j]))


@_compiled
def _softmax(x, holes, masked, high, low, exponent, open_, values):  # type: ignore[no-untyped-def]
    """p of all rows, and what ``Row`` needs: (m, T, its low word) into ``values``."""
    count, n = x.shape
    scaled = np.empty(n)
    scaled_low = np.empty(n)
    lanes = np.empty(8)
    for i in range(count):
        m = _largest(x[i])
        _terms(x[i], m, high[i], low[i], exponent[i], scaled, scaled_low)
        ties = _ties(x[i], m, holes[i if masked else 0], masked, scaled, scaled_low)
        total, total_low = _sum(scaled, scaled_low, lanes)
        t, t_low = _all_but_one(total, total_low, ties)
        r, r_low = _inverse(t, t_low)
        values[0, i], values[1, i], values[2, i] = m, t, t_low
        _shares(high[i], low[i], exponent[i], open_[i], r, r_low)


@_compiled
def _sums(x, holes, masked, values):  # type: ignore[no-untyped-def]
    """What ``Row`` needs: (m, T, its low word) into ``values``."""
    count, n = x.shape
    scaled = np.empty(n)
    scaled_low = np.empty(n)
    lanes = np.empty(8)
    for i in range(count):
        m = _largest(x[i])
        _copies(x[i], m, scaled, scaled_low)
        ties = _ties(x[i], m, holes[i if masked else 0], masked, scaled, scaled_low)
        total, total_low = _sum(scaled, scaled_low, lanes)
        values[0, i] = m
        values[1, i], values[2, i] = _all_but_one(total, total_low, ties)


@_compiled
def _logs(x, m, log, log_low, high, low, exponent, open_):  # type: ignore[no-untyped-def]
    """dd_numpy.log_softmax for every element."""
    for i in range(x.shape[0]):
        quarter = m[i] * 0.25
        whole, whole_low = -log[i], -log_low[i]
        part, part_low = whole * _BACK, whole_low * _BACK
        small = log[i] < _SMALL_LOG
        for j in range(x.shape[1]):
            d, rest = _two_sum(x[i, j] * 0.25, -quarter)
            s, e = _two_sum(d, part)
            e += rest + part_low
            h = s + e
            e -= h - s
            alone = small & (d == 0.0)
            h = whole if alone else h
            e = whole_low if alone else e
            high[i, j] = h
            low[i, j] = e
            exponent[i, j] = -_SHIFT if alone else 2
            reach = abs(h) * (2.0 * _RADIUS)
            ziv = (h + (e - reach) != h) | (h + (e + reach) != h)
            open_[i, j] = ziv | (abs(h) >= _TOP) | alone


@dataclass(frozen=True, slots=True)
class Part:
    """Logits of whole rows; their p, if they were asked for."""

    x: FloatArray
    p: Loose | None


def whole(
    x: FloatArray, holes: NDArray[np.bool_] | None, *, keep: bool, out: Window | None = None
) -> tuple[Part, dd_numpy.Row]:
    """Rows of any length: what they add up to, and (``keep``) their softmax, perhaps in ``out``."""
    values = np.empty((3, x.shape[0]))
    mask = np.zeros((1, x.shape[1]), np.bool_) if holes is None else np.ascontiguousarray(holes)
    p = None
    if keep:
        high, low, exponent, open_ = _words(x.shape, out)
        _softmax(x, mask, holes is not None, high, low, exponent, open_, values)
        p = Loose(high, low, exponent, bounds.FAST_RADIUS, dd_numpy.TIER, VANISHED, open_)
    else:
        _sums(x, mask, holes is not None, values)
    m, t, t_low = values[:, :, None]
    return Part(x, p), dd_numpy.Row(m, (t, t_low), t == 0, bounds.FAST_RELATIVE)


def _words(shape: tuple[int, ...], out: Window | None) -> tuple[Any, Any, Any, NDArray[np.bool_]]:
    words = (np.empty(shape), np.empty(shape), np.empty(shape, np.int32)) if out is None else out
    return *words, np.empty(shape, np.bool_)


def softmax(part: Part, _row: Any, _out: Any = None) -> Loose:
    """p = e**d / S."""
    assert part.p is not None
    return part.p


def log_softmax(x: FloatArray, row: dd_numpy.Row, out: Window | None = None) -> Loose:
    """d - log S."""
    m, log, log_low = (np.ascontiguousarray(word[:, 0]) for word in (row.m, *row.log))
    high, low, exponent, open_ = _words(x.shape, out)
    _logs(np.ascontiguousarray(x), m, log, log_low, high, low, exponent, open_)
    nothing = dd_numpy.nothing(row)
    if nothing.any():
        far = nothing & (x == row.m)
        exponent[far] = _FAR
        open_[far] = False
    return Loose(high, low, exponent, bounds.FAST_RADIUS, dd_numpy.TIER, dd_numpy.NOTHING, open_)
