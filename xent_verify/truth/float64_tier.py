"""Tier 1: float64 arithmetic with a proven error bound, for targets of 32 bits and fewer.

Same plan as tier 2 (T = the sum of all terms but one maximal one, log S = log1p(T)), in plain doubles. Budget:
``bounds.budget_tier1``; every result is within 2**-45 of itself. The steps, u = 2**-53:

* d = fl(x - m) is off by half an ulp: 2**-47 for |d| < 128, 2**-46 below 256, which is a relative error of e**d;
* e**d by ``np.exp``, taken to be good to 8 u; arguments are held at -700, where results are still normal;
* T by sums in a fixed order that set the largest term aside: at most 80 roundings;
* log S by ``np.log1p``, taken to be good to 8 u; an error of T passes through log1p undiminished at most;
* p = e**d (1 / (1 + T)): three roundings; d - log S, both of one sign: two roundings.

Terms with d < -256 are less accurate (2**-44 to -700, then only bounded by e**-700), but they weigh less than 2**-369 a
piece: softmax and logs below 2**-175 are answered by an interval from 0 on.

np.exp and np.log1p are other people's code, and differ by machine. ``trusted`` compares them at start-up with tier 2's
own kernels at several thousand points (every binade, every table interval of the common algorithms, odd lengths for the
vector loops' remainders), wants 4 u, and the budget assumes 8 u. That is evidence with a margin of two, not a proof for
every argument: the error of these functions comes from a polynomial on a short interval and one table, and the points
lie densely in both. Where the check fails, tier 1 is not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.formats import FloatArray
from xent_verify.core.shapes import clipped
from xent_verify.truth import bounds
from xent_verify.truth import doubledouble as dd
from xent_verify.truth.loose import Loose
from xent_verify.truth.pieces import Piece, normalised
from xent_verify.truth.sink import Window

__all__ = ["FLOOR", "TIER", "Part", "Row", "log_softmax", "logsumexp", "others", "part", "row", "softmax", "trusted"]

TIER = 1
_LOWEST = -700.0
FLOOR = -175
"""Exponent under which values are only bounded."""

_MEASURED = 4 * 2.0**-53


@dataclass(frozen=True, slots=True)
class Part:
    """e**d of some columns; their largest term and the sum of the others."""

    x: FloatArray
    terms: FloatArray
    largest: FloatArray
    others: FloatArray


@dataclass(frozen=True, slots=True)
class Row:
    """m, T, log S of whole rows (arrays keep the reduced axis); ``alone``: T = 0 exactly."""

    m: FloatArray
    t: FloatArray
    log: FloatArray
    alone: NDArray[np.bool_]


def part(
    x: FloatArray, m: FloatArray, axis: int, holes: NDArray[np.bool_] | None = None, *, out: FloatArray | None = None
) -> Part:
    """Terms of the columns ``x`` (finite; holes stand for -inf), perhaps in ``out``.

    Short rows stand as columns (axis 0, whole rows): their maximal terms are found as those with d = 0, which the
    others' sum leaves out, and all but one are added as 1. In long rows the largest term of the part is set aside.
    """
    with np.errstate(over="ignore"):
        terms = np.subtract(x, m, out=out)
    if axis == 0:
        return _part_of_columns(x, terms, holes)
    np.maximum(terms, _LOWEST, out=terms)
    np.exp(terms, out=terms)
    if holes is not None:
        np.copyto(terms, 0.0, where=holes)
    best = np.arange(terms.shape[0]), terms.argmax(axis=1)
    largest = terms[best]
    terms[best] = 0.0
    others = _sum(terms, 1)
    terms[best] = largest
    return Part(x, terms, largest[:, None], others)


def _part_of_columns(x: FloatArray, terms: FloatArray, holes: NDArray[np.bool_] | None) -> Part:
    tie = terms == 0.0
    np.maximum(terms, _LOWEST, out=terms)
    np.exp(terms, out=terms)
    if holes is not None:
        np.copyto(terms, 0.0, where=holes)
        tie &= ~holes
    np.copyto(terms, 0.0, where=tie)
    others = _sum(terms, 0)
    np.copyto(terms, 1.0, where=tie)
    ties = np.add.reduce(tie, axis=0, dtype=np.float64, keepdims=True)
    return Part(x, terms, np.ones_like(others), others + (ties - 1.0))


def _sum(terms: FloatArray, axis: int) -> FloatArray:
    """Sums along ``axis`` (kept): sixteenths added up until at most 16 terms are left, those that do not fit apart.

    Whatever order NumPy adds 16 numbers in, that is 15 roundings. 2**14 terms take three such steps and the last, with
    the odd terms' own sums and their additions: at most 4 * 15 + 15 + 3 roundings on the way of any term.
    """
    odd = []
    while terms.shape[axis] > 16:
        part = terms.shape[axis] // 16
        shape = (16, part, -1) if axis == 0 else (-1, 16, part)
        even = terms[: 16 * part] if axis == 0 else terms[:, : 16 * part]
        if terms.shape[axis] % 16:
            odd.append(dd.plain_sum(terms[16 * part :] if axis == 0 else terms[:, 16 * part :], axis))
        terms = np.squeeze(dd.plain_sum(even.reshape(shape), axis), axis)
    total = dd.plain_sum(terms, axis)
    for rest in odd:
        total += rest
    return total


def row(m: FloatArray, parts: Sequence[Part], axis: int) -> Row:
    """T over all parts: the largest of all terms, e**0 = 1, is the one left out."""
    t = parts[0].others
    if len(parts) > 1:
        largest, others = (np.concatenate([getattr(p, name) for p in parts], axis) for name in ("largest", "others"))
        best = largest.argmax(axis=1)[:, None]
        np.put_along_axis(largest, best, 0.0, axis=1)
        t = dd.tree_sum(largest, None, axis)[0] + dd.tree_sum(others, None, axis)[0]  # three roundings
    return Row(m, t, np.log1p(t), t == 0)


def softmax(part: Part, row: Row, _out: Any = None) -> Loose:
    """p = e**d / S, in the place of the terms."""
    part.terms[...] *= 1.0 / (1.0 + row.t)
    return _loose(part.terms)


def _loose(values: FloatArray) -> Loose:
    return Loose(values, None, 0, bounds.TIER1_RADIUS, TIER, FLOOR)


def log_softmax(x: FloatArray, row: Row, out: Window | None = None) -> Loose:
    """d - log S; -inf where that overflows."""
    with np.errstate(over="ignore"):
        value = np.subtract(x, row.m, out=None if out is None else out[0])
        value -= row.log
    return _loose(value)


def others(row: Row) -> Loose:
    """T / S = 1 - p at a maximal logit, relatively accurate."""
    return _loose(row.t * (1.0 / (1.0 + row.t)))


def logsumexp(row: Row) -> Piece:
    """m + log S; the absolute error of log S (2**-176 stands for logs below it) is carried through cancellation."""
    value = row.m + row.log
    piece = normalised(np.where(np.abs(value) < 2.0**-1000, 0.0, value), None, 0, 0.0, TIER)
    error = bounds.TIER1_RELATIVE * row.log + 2.0**-52 * np.abs(value) + 2.0 ** (FLOOR - 1)
    radius = np.ldexp(error, -clipped(piece.exponent, -1000, 1023).astype(np.int32)) * 1.0001
    lost = (piece.hi == 0) | (radius > 0.5)
    exact = row.alone & ~lost
    return replace(  # where lost, |t| < |value| + error: (-1, 3) holds it in units of the next power of two
        piece,
        hi=np.where(lost, 1.0, piece.hi),
        exponent=np.where(lost, np.frexp(np.abs(value) + error)[1], piece.exponent),
        radius=np.where(lost, 2.0, np.where(exact, 0.0, radius)),
    )


@cache
def trusted() -> bool:
    """True if this machine's np.exp and np.log1p passed the check of the module docstring (about 5 ms, once)."""
    return _exp_error() <= _MEASURED and _log1p_error() <= _MEASURED


def _exp_error() -> float:
    """Largest relative error of np.exp seen; infinite if e**0 is not 1."""
    generator = np.random.default_rng(20240229)
    near = -generator.random(4096) * np.exp2(np.arange(4096) % 48 - 38)
    points = np.concatenate((near, -generator.random(4096) * 700.0, -np.arange(1010.0) * 0.6931471805599453))
    high, low, exponent = dd.exp(points, np.zeros_like(points), full=True)
    worst = 0.0
    for length in (points.size, 1, 3, 7, 13):
        seen = np.exp(points[:length])
        scaled = np.ldexp(seen, -exponent[:length].astype(np.int32))
        worst = max(worst, float(np.max(np.abs((scaled - high[:length]) - low[:length]) / high[:length])))
    return worst if np.exp(np.zeros(1))[0] == 1.0 and np.exp(np.zeros(9)).min() == 1.0 else np.inf


def _log1p_error() -> float:
    """Largest relative error of np.log1p seen; infinite if it is not 0 at 0."""
    generator = np.random.default_rng(20240301)
    points = np.exp2(np.concatenate((generator.random(4096) * 168 - 128, generator.random(2048) * 12 - 6)))
    high, low = dd.log1p((points, np.zeros_like(points)))
    worst = float(np.max(np.abs((np.log1p(points) - high) - low) / high))
    tiny = np.exp2(-129 - generator.random(256) * 850)
    worst = max(worst, float(np.max(np.abs(np.log1p(tiny) - tiny) / tiny)))
    return worst if np.log1p(np.zeros(9)).max() == 0.0 and np.isfinite(worst) else np.inf
