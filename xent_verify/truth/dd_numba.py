"""Tier 2 compiled: the kernels of ``dd_numpy`` as loops, for the extra ``fast`` (Numba).

The same operations on the same numbers as ``doubledouble.exp(full=False)`` and ``dd_numpy.softmax``: e**d agrees bit
for bit, so its budget is that of ``bounds.budget_fast``. No fast-math and no contraction: LLVM keeps every rounding.

T is summed in 8 lanes over blocks of 1024 terms. A lane adds 128 high words without error (two_sum) and their errors
and low words in double: at most 2 * 128 roundings of a low word of at most 129 u T, 2**-91 T; the 8 lanes (or fewer
than 16 single terms) of a block are joined by ``two_sum`` to a total whose low word, at most 2 u T after each block,
takes 16 roundings a block: 2**-101 T each. That is below 2**-86 T up to 2**24 terms, and within the slack of
``bounds.FAST_RELATIVE`` (2**-81.8) up to 2**29.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from xent_verify.formats import FloatArray, IntArray
from xent_verify.truth import bounds, dd_numpy
from xent_verify.truth.pieces import VANISHED, Piece, vanish
from xent_verify.truth.tables import tables

__all__ = ["Part", "log_softmax", "softmax", "whole"]

_T = tables()
_ROOT, _ROOT_LOW, _ROOT_TOP, _ROOT_BOTTOM = _T.root, _T.root_low, _T.root_top, _T.root_bottom
_C1, _C2, _C3, _INVERSE = _T.c1, _T.c2, _T.c3, _T.inverse
_SPLITTER = 134217729.0
_LOWEST = -20000.0
_TINY = -(2.0**-300)
_FAR = -(1 << 30)  # exponent that marks d < -20000
_SHIFT = dd_numpy.SCALE
_FLUSHED = -900
_BLOCK = 1024
_FRACTION = (1 << 52) - 1
_ONE = 1023 << 52
_KEEP = ~(0x7FF << 52)
_SMALL_LOW = 2.0**-900
_SMALL_LOG = 2.0 ** (_SHIFT - 200)
_BACK = 2.0 ** (-_SHIFT - 2)
_LEAST = -1022  # float64's e_min

_inline = njit(inline="always", error_model="numpy")


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
    b1 = _ROOT_TOP[place]
    b2 = _ROOT_BOTTOM[place]
    a1, a2 = _split(p)
    a = p * root
    a_low = ((a1 * b1 - a) + a1 * b2 + a2 * b1) + a2 * b2
    a_low = ((a_low + p * root_low) + p_low * root) + root_low
    s = root + a
    e = (a - (s - root)) + a_low
    high = s + e
    return high, e - (high - s), index >> 8


@_inline
def _terms_of_row(x, holes, masked, m, high, low, exponent, scaled, scaled_low):  # type: ignore[no-untyped-def]
    """Terms of one row; their scaled copies for the sum; (number of maximal logits, whether some are far)."""
    ties = 0
    far = 0
    for j in range(x.size):
        d, rest = _two_sum(x[j], -m)
        distant = not d >= _LOWEST
        d = _LOWEST if distant else d
        rest = 0.0 if distant else rest
        d = 0.0 if d > _TINY else d
        h, h_low, k = _exp(d, rest)
        high[j] = h
        low[j] = h_low
        exponent[j] = _FAR if distant else k
        far += 1 if distant else 0
        tie = x[j] == m
        weight = np.int64((max(k + _SHIFT, _FLUSHED) + 1023) << 52).view(np.float64)
        weight = np.float64(0.0) if tie else weight
        ties += 1 if tie else 0
        scaled[j] = h * weight
        scaled_low[j] = h_low * weight
    if masked:
        for j in range(x.size):
            if holes[j]:
                ties -= 1 if x[j] == m else 0
                scaled[j] = 0.0
                scaled_low[j] = 0.0
    return ties, far


@_inline
def _sum(scaled, scaled_low, lanes):  # type: ignore[no-untyped-def]
    """See the module docstring; ``lanes``: scratch (2, 8)."""
    total = 0.0
    total_low = 0.0
    for start in range(0, scaled.size, _BLOCK):
        stop = min(start + _BLOCK, scaled.size)
        even = start + (stop - start) // 8 * 8
        if even > start + 8:
            lanes[:] = 0.0
            for j in range(start, even, 8):
                for i in range(8):
                    s, e = _two_sum(lanes[0, i], scaled[j + i])
                    lanes[0, i] = s
                    lanes[1, i] += e + scaled_low[j + i]
            for i in range(8):
                total, e = _two_sum(total, lanes[0, i])
                total_low += e + lanes[1, i]
        else:
            even = start
        for j in range(even, stop):
            total, e = _two_sum(total, scaled[j])
            total_low += e + scaled_low[j]
        s = total + total_low
        total_low -= s - total
        total = s
    return total, total_low


@njit(error_model="numpy", nogil=True, cache=True)
def _rows(x, holes, masked, high, low, exponent, keep, values):  # type: ignore[no-untyped-def]
    """Terms of all rows (of the last, unless ``keep``), (m, sum, low word, ties) into ``values``; how many are far."""
    count, n = x.shape
    scaled = np.empty(n)
    scaled_low = np.empty(n)
    lanes = np.empty((2, 8))
    far = 0
    for r in range(count):
        m = x[r, 0]
        place = r if keep else 0
        for j in range(n):
            m = x[r, j] if x[r, j] > m else m
        found, distant = _terms_of_row(
            x[r], holes[r if masked else 0], masked, m, high[place], low[place], exponent[place], scaled, scaled_low
        )
        far += distant
        values[0, r] = m
        values[1, r], values[2, r] = _sum(scaled, scaled_low, lanes)
        values[3, r] = found
    return far


@_inline
def _beside(bits, e, k, radius):  # type: ignore[no-untyped-def]
    """pieces._low_words and pieces._beside_lifted: whether a midpoint of float64 may lie within the radius."""
    shift = min(max(_LEAST - k, 1), 56)
    middle = np.int64(1) << (shift - 1)
    significand = (bits & _FRACTION) | (np.int64(1) << 52)
    offset = np.float64((significand & (2 * middle - 1)) - middle) + e * 2.0**52
    lifted = abs(offset) <= radius * (2.0**52 * 1.0001)
    halfway = (abs(abs(e) - 2.0**-53) <= radius) | (((bits & _FRACTION) == 0) & (abs(abs(e) - 2.0**-54) <= radius))
    return lifted if k < _LEAST else halfway


@njit(error_model="numpy", nogil=True, cache=True)
def _scaled(high, low, exponent, r, r_low, radius, suspect):  # type: ignore[no-untyped-def]
    """e**d (r + r_low), normalised, in place; ``suspect`` as ``pieces.undecided`` wants it for float64."""
    for i in range(high.shape[0]):
        b, b_low = r[i], r_low[i]
        b1, b2 = _split(b)
        for j in range(high.shape[1]):
            a = high[i, j]
            a1, a2 = _split(a)
            p = a * b
            e = ((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2
            e = (e + a * b_low) + low[i, j] * b
            s = p + e
            e -= s - p
            bits = np.float64(s).view(np.int64)
            power = (bits >> 52) - 1023
            far = exponent[i, j] == _FAR
            e *= np.int64((1023 - power) << 52).view(np.float64)
            high[i, j] = 1.0 if far else np.int64((bits & _FRACTION) | _ONE).view(np.float64)
            low[i, j] = 0.0 if (far or abs(e) < _SMALL_LOW) else e
            k = exponent[i, j] + power
            exponent[i, j] = VANISHED if far else k
            suspect[i, j] = _beside(bits, e, k, radius) and not far


@njit(error_model="numpy", nogil=True, cache=True)
def _logs(x, m, log, log_low, high, low, exponent, radius, suspect):  # type: ignore[no-untyped-def]
    """dd_numpy.log_softmax for every element; how many came out 0."""
    zeros = 0
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
            alone = small and d == 0.0
            h = whole if alone else h
            e = whole_low if alone else e
            bits = np.float64(h).view(np.int64)
            power = ((bits >> 52) & 0x7FF) - 1023
            zero = h == 0.0
            e *= np.int64((1023 - power) << 52).view(np.float64)
            high[i, j] = 0.0 if zero else np.int64((bits & _KEEP) | _ONE).view(np.float64)
            low[i, j] = 0.0 if (zero or abs(e) < _SMALL_LOW) else e
            k = power + (-_SHIFT if alone else 2)
            exponent[i, j] = 0 if zero else k
            inward = e if h > 0.0 else -e
            suspect[i, j] = (_beside(bits, inward, k, radius) or k >= 1023) and not zero
            zeros += 1 if zero else 0
    return zeros


@dataclass(frozen=True, slots=True)
class Part:
    """As ``dd_numpy.Part``; exponents of far terms hold a mark. Without terms (``keep=False``) only x counts."""

    x: FloatArray
    high: FloatArray
    low: FloatArray
    exponent: IntArray
    far: NDArray[np.bool_] | None


Words = tuple[FloatArray, FloatArray, IntArray]


def _words(shape: tuple[int, ...]) -> Words:
    return np.empty(shape), np.empty(shape), np.empty(shape, np.int64)


def whole(
    x: FloatArray, holes: NDArray[np.bool_] | None, *, keep: bool, out: Words | None = None
) -> tuple[Part, dd_numpy.Row]:
    """Terms and row values of whole rows (any length); with ``out``, results take shape there."""
    count, n = x.shape
    high, low, exponent = out or _words((count if keep else 1, n))
    values = np.empty((4, count))
    mask = np.zeros((1, n), np.bool_) if holes is None else np.ascontiguousarray(holes)
    far = _rows(x, mask, holes is not None, high, low, exponent, keep, values)
    part = Part(x, high, low, exponent, exponent == _FAR if far and keep else None)
    m, total, total_low, ties = values[:, :, None]
    t = dd_numpy.with_ties((total, total_low), ties)
    return part, dd_numpy.Row(m, t, t[0] == 0, bounds.FAST_RELATIVE)


def softmax(part: Part, row: dd_numpy.Row) -> Piece:
    """p = e**d / S; the part's arrays become the piece's."""
    r, r_low = (np.ascontiguousarray(word[:, 0]) for word in row.inverse)
    radius, suspect = 2 * row.relative, np.empty(part.high.shape, np.bool_)
    _scaled(part.high, part.low, part.exponent, r, r_low, radius, suspect)
    return Piece(part.high, part.exponent, part.low, radius, dd_numpy.TIER, part.far, VANISHED, suspect)


def log_softmax(x: FloatArray, row: dd_numpy.Row, out: Words | None = None) -> Piece:
    """d - log S."""
    m, log, log_low = (np.ascontiguousarray(word[:, 0]) for word in (row.m, *row.log))
    high, low, exponent = out or _words(x.shape)
    radius, suspect = 2 * row.relative, np.empty(x.shape, np.bool_)
    zeros = _logs(np.ascontiguousarray(x), m, log, log_low, high, low, exponent, radius, suspect)
    spread = np.where(high == 0, 0.0, radius) if zeros else radius
    piece = Piece(high, exponent, low, spread, dd_numpy.TIER, suspect=suspect)
    nothing = dd_numpy.nothing(row)
    if nothing.any():
        piece = vanish(piece, nothing & (x == row.m), dd_numpy.NOTHING, sign=-1.0)
    return piece
