"""Tier 2 in NumPy: softmax, log-softmax and logsumexp of rows in double-double, exponents apart.

For a row with maximum m: d = x - m exactly (two_sum), e**d = (h + l) 2**k, and T = the sum of all terms but one
maximal one. Then S = 1 + T, log S = log1p(T): relatively accurate however small it is (log of the whole sum is not,
at the argmax). T and log S are carried times 2**500. Bounds: ``bounds.FAST_RELATIVE`` (``FULL_RELATIVE``).

What lies outside the arguments' range, d < -20000, is clamped for the sum and answered by (0, 2**-28852) for p itself.
In the sum, terms below 2**-1400 count as something in (0, 2**-1398): T is off by less than n 2**-1390. Hence every
log S below 2**-1150 is answered by (0, 2**-1149); above it the fuzz is below 2**-200 for any row that fits a memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.formats import FloatArray, IntArray
from xent_verify.core.shapes import clipped, full
from xent_verify.truth import bounds
from xent_verify.truth import doubledouble as dd
from xent_verify.truth.loose import FAR, Loose
from xent_verify.truth.pieces import VANISHED, Piece, normalised, vanish
from xent_verify.truth.scratch import Scratch

__all__ = [
    "NOTHING",
    "SCALE",
    "TIER",
    "Part",
    "Row",
    "log_softmax",
    "logsumexp",
    "nothing",
    "others",
    "part",
    "row",
    "softmax",
    "with_ties",
]

TIER = 2
SCALE = 500
"""T and log S are held times 2**SCALE."""

_LOWEST = -20000.0
_FLUSHED = -900  # exponent, scaled, at which terms of the sum are held up
_SMALL = 2.0**-130  # below, log1p(T) = T to 2**-131
NOTHING = -1150  # exponent of logs that are only bounded


@dataclass(frozen=True, slots=True)
class Part:
    """The terms e**d of some columns of a group of rows: (high + low) 2**exponent, and their sum times 2**500.

    Where d < -20000, exponents are ``FAR``.
    """

    x: FloatArray
    high: FloatArray
    low: FloatArray
    exponent: IntArray
    total: dd.Pair
    ties: FloatArray


@dataclass(frozen=True)
class Row:
    """What a whole row knows (arrays keep the reduced axis): m, T times 2**500, and what follows from T, computed once.

    ``alone``: no other finite logit, T = 0 exactly. ``relative`` bounds the relative error of p and log S.
    """

    m: FloatArray
    t: dd.Pair
    alone: NDArray[np.bool_]
    relative: float

    @cached_property
    def inverse(self) -> dd.Pair:
        """1 / S."""
        s, e = dd.two_sum(np.ones_like(self.m), self.t[0] * 2.0**-SCALE)
        return dd.reciprocal(dd.fast_two_sum(s, e + self.t[1] * 2.0**-SCALE))

    @cached_property
    def log(self) -> dd.Pair:
        """log S times 2**500."""
        unscaled = self.t[0] * 2.0**-SCALE
        small = unscaled < _SMALL
        high, low = dd.log1p((np.where(small, 1.0, unscaled), np.where(small, 0.0, self.t[1] * 2.0**-SCALE)))
        return np.where(small, self.t[0], high * 2.0**SCALE), np.where(small, self.t[1], low * 2.0**SCALE)


def _quotient(x: FloatArray, m: FloatArray, divisor: float) -> dd.Pair:
    """(x - m) / divisor as a pair, for a positive divisor; not finite where it is beyond 2**900 or so.

    All scaling by the divisor's power of two comes before the product, which may then underflow only where the quotient
    is that small. Scaling down comes before the difference (a subnormal loses at most 2**-1075, a relative error of the
    exponential), scaling up after it (exact). The reciprocal of the mantissa (8 u**2) and the product (8 u**2, or 2**-1070)
    leave 2**-102 |d|: below 2**-87 of the exponential for |d| < 20000.
    """
    mantissa, power = np.frexp(divisor)
    power -= 1
    one = (np.full((1, 1), 2.0 * mantissa), np.zeros((1, 1)))
    down = max(int(power), 0)
    high, low = dd.two_sum(np.ldexp(x, -down), full(np.ldexp(-m, -down), x.shape))
    up = down - int(power)
    return dd.multiply((np.ldexp(high, up), np.ldexp(low, up)), dd.reciprocal(one))


def part(
    x: FloatArray,
    m: FloatArray,
    axis: int,
    holes: NDArray[np.bool_] | None = None,
    *,
    full: bool = False,
    divisor: float = 1.0,
    out: FloatArray | None = None,  # noqa: ARG001
) -> Part:
    """Terms of the columns ``x`` (finite; holes stand for -inf); m is the row maximum, kept as an axis of length 1.

    With a ``divisor`` (a temperature), terms are e**(d / divisor), and only softmax may be asked of them. ``out``, if
    any, will hold the terms' high words.
    """
    with Scratch(x.shape, 2) as (d, rest):
        far = _distances(x, m, divisor, d, rest)
        high, low, exponent = dd.exp(d, rest, full=full)
    tie = np.equal(x, m)
    if holes is not None:
        tie &= ~holes
    with Scratch(x.shape, 2) as (scaled, scaled_low):
        weight = dd.power_of_two(np.maximum(exponent, _FLUSHED - SCALE), SCALE)
        np.copyto(weight, 0.0, where=tie if holes is None else tie | holes)
        np.multiply(high, weight, out=scaled)
        np.multiply(low, weight, out=scaled_low)
        total = _extracted(scaled, scaled_low, axis)
    if far is not None:
        np.copyto(exponent, FAR, where=far)
    ties = np.add.reduce(tie, axis=axis, dtype=np.float64, keepdims=True)
    return Part(x, high, low, exponent, total, ties)


def _distances(
    x: FloatArray, m: FloatArray, divisor: float, d: FloatArray, rest: FloatArray
) -> NDArray[np.bool_] | None:
    """x - m, divided, as d + rest, fit for ``dd.exp``; where it lies below -20000 (None: nowhere), and is held."""
    with np.errstate(all="ignore"):  # x - m may overflow: such terms are far away
        if divisor == 1.0:
            with Scratch(x.shape, 1) as (spare,):
                dd.two_sum(x, -m, (d, rest, spare))
        else:
            d[...], rest[...] = _quotient(x, m, divisor)
    far = None
    if not d.min(initial=0.0) >= _LOWEST:
        far = ~(d >= _LOWEST)
        np.copyto(d, _LOWEST, where=far)
        np.copyto(rest, 0.0, where=far)
    np.copyto(d, 0.0, where=d > -(2.0**-300))  # e**d = 1 to 2**-300; keeps subnormals out
    return far


def _extracted(high: FloatArray, low: FloatArray, axis: int) -> dd.Pair:
    """Sum of terms high + low >= 0 along ``axis`` (kept): two extractions (Rump, Ogita, Oishi 2008), rest in double.

    ``high`` is overwritten.

    Let n terms be at most M and s a power of two, s >= 2 n M. q = (high + s) - s is a multiple of 2**-52 s, off by at
    most 2**-53 s, and all partial sums of q stay within s: NumPy adds them exactly, in any order. So it does with what
    is left, extracted at 2 n 2**-53 s (times 3/2, since it has signs). The remainder is below 2**-104 n s a piece, and
    its sum in double, as that of the low words (at most 2 u high each, n - 1 roundings), is what rounds: 2 n u**2
    of the sum for n <= 16384. It is made in a fixed order (``doubledouble.folded``), so that every engine has these bits.
    """
    n = high.shape[axis]
    top = high.max(axis=axis, keepdims=True)
    s = np.ldexp(1.0, np.frexp(top * float(n))[1] + 1)
    with Scratch(high.shape, 1) as (q,):
        np.add(high, s, out=q)
        q -= s
        high -= q
        first = dd.plain_sum(q, axis)
        s *= 3.0 * 2.0 ** (int(n).bit_length() - 53)
        np.add(high, s, out=q)
        q -= s
        high -= q
        high += low
        second = dd.plain_sum(q, axis)
    a, b = dd.two_sum(first, second)
    return dd.fast_two_sum(a, b + dd.folded(high, axis))


def row(m: FloatArray, parts: Sequence[Part], axis: int, *, full: bool = False) -> Row:
    """Sums over all parts, less one maximal term."""
    sums = parts[0].total
    if len(parts) > 1:
        high, low = (np.concatenate([p.total[i] for p in parts], axis=axis) for i in (0, 1))
        sums = dd.tree_sum(high, low, axis)
    ties = sum((p.ties for p in parts[1:]), parts[0].ties)
    t = with_ties(sums, ties)
    return Row(m, t, t[0] == 0, bounds.FULL_RELATIVE if full else bounds.FAST_RELATIVE)


def with_ties(sums: dd.Pair, ties: FloatArray) -> dd.Pair:
    """T from the sum of the smaller terms and the number of maximal ones, all but one of which count."""
    return dd.add(sums, ((ties - 1.0) * 2.0**SCALE, np.zeros_like(ties)))


def softmax(part: Part, row: Row, _out: Any = None) -> Loose:
    """p = e**d / S, in the place of the terms: two_product, two low words added (3 u**2), normalised."""
    r, r_low = row.inverse
    p, e = dd.two_product(part.high, r, dd.split(r))
    np.multiply(part.high, r_low, out=part.high)
    e += part.high
    np.multiply(part.low, r, out=part.low)
    e += part.low
    high = np.add(p, e, out=part.high)
    np.subtract(high, p, out=p)
    e -= p
    return Loose(high, e, part.exponent, 2 * row.relative, TIER, VANISHED)


def log_softmax(x: FloatArray, row: Row, _out: Any = None) -> Loose:
    """d - log S, from x/4 and m/4 so that nothing overflows; where d = 0, -log S alone, with its scale.

    d <= 0 and log S >= 0: no cancellation, the relative error is at most log S's. If d != 0 and log S < 1/2 then
    |d| > 0.4, and neither x/4 rounding (x subnormal) nor log S times 2**-302 underflowing weighs more than 2**-1000.
    """
    d, rest = dd.two_sum(x * 0.25, full(row.m * -0.25, x.shape))
    back = -(2.0 ** (-SCALE - 2))
    high, low = dd.add((d, rest), (row.log[0] * back, row.log[1] * back))
    exponent: IntArray | int = 2
    small = (d == 0) & (row.log[0] < 2.0 ** (SCALE - 200))
    if small.any():
        high = np.where(small, -row.log[0], high)
        low = np.where(small, -row.log[1], low)
        exponent = np.where(small, np.where(nothing(row), FAR, -SCALE), 2)
    return Loose(high, low, exponent, 2 * row.relative, TIER, NOTHING)


def others(row: Row) -> Loose:
    """T / S = 1 - p at a maximal logit, relatively accurate."""
    high, low = dd.multiply(row.t, row.inverse)
    high, power = np.frexp(high)
    exponent = np.where(nothing(row), FAR, power - SCALE)
    return Loose(high, np.ldexp(low, -power), exponent, 2 * row.relative, TIER, NOTHING)


def nothing(row: Row) -> NDArray[np.bool_]:
    """Rows with 0 < log S, known only to be below 2**-1149."""
    return ~row.alone & (row.log[0] < 2.0 ** (SCALE + NOTHING))


def logsumexp(row: Row) -> Piece:
    """m + log S; what cancellation leaves shows in the radius. Times 2**500 where both terms are small.

    Either way the sum is 0 or normal (a multiple of 2**-800). Absolute error: log S's, and u**2 (|t| + log S) for
    adding the low word: 2**-100 of the binade covers it together with the fuzz of rows with m != 0.
    """
    small = (np.abs(row.m) < 2.0**-600) & (row.log[0] < 2.0 ** (SCALE - 600))
    shift = np.where(small, 1.0, 2.0**-SCALE)
    high, low = dd.two_sum(row.m * np.where(small, 2.0**SCALE, 1.0), row.log[0] * shift)
    high, low = dd.fast_two_sum(high, low + row.log[1] * shift)
    exponent = np.where(small, -SCALE, 0)
    piece = normalised(high, low, exponent, 0.0, TIER)
    error = 1.0001 * row.relative * row.log[0] * shift
    scaled = dd.power_of_two(clipped(exponent - piece.exponent, -1022, 1023))
    radius = np.where(row.alone, 0.0, error * scaled + 2.0**-100)
    piece = replace(piece, radius=radius)
    lost = ~row.alone & ((high == 0) | (radius > 0.5))
    if lost.any():  # |t| < |high| + error: the interval (-1, 3) holds it in units of the next power of two
        beyond = np.frexp(np.abs(high) + error)[1] + exponent
        piece = Piece(
            np.where(lost, 1.0, piece.hi),
            np.where(lost, beyond, piece.exponent),
            np.where(lost, 0.0, piece.lo),
            np.where(lost, 2.0, radius),
            TIER,
        )
    return vanish(piece, (row.m == 0) & nothing(row), NOTHING)
