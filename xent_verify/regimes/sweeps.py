"""Sweeps: every row length, column, batch size and band of floats, in many cheap calls (``screen``)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.formats import FloatArray, FloatFormat, IntArray
from xent_verify.core.model import Batch
from xent_verify.regimes.calls import named
from xent_verify.regimes.draw import Draw
from xent_verify.regimes.portable import exp, log
from xent_verify.regimes.regime import Context
from xent_verify.regimes.rows import mixed_scale, ordinary

__all__ = [
    "batch_sizes",
    "every_size",
    "every_value",
    "far_sizes",
    "floats_between",
    "profile_exp",
    "profile_log",
    "profile_x",
    "spikes",
    "stretches",
]

_LOWEST, _HIGHEST = 2.0**-26, 104.0
"""Gaps between which exp differs from 1 and from 0 in float32."""

_CALL = 2**16
"""Logits of one call of a profile."""


def floats_between(draw: Draw, low: float, high: float, stride: int) -> NDArray[Any]:
    """Every ``stride``-th float from low to high, from a random one on; all of 16 bits and fewer; of float64 a few
    thousand in each binade."""
    form = draw.fmt
    first, last = (int(form.ordinal(form.narrow(value))) for value in (max(low, form.smallest_subnormal), high))
    if form.bits <= 16:
        return form.widen(form.from_ordinal(np.arange(first, last + 1)))
    if form.bits == 32:  # ordinals of positive values are their bits
        return np.asarray(
            form.from_bits(np.arange(first + draw.rng.integers(stride), last + 1, stride, dtype=np.uint32))
        )
    edges = np.unique(np.concatenate([np.arange(first, last, 2 ** (form.precision - 1)), [last]]))
    each = max(2**19 // stride, 16)
    spread = draw.rng.random((len(edges) - 1, each)) * np.diff(edges)[:, None]
    return form.widen(form.from_ordinal(np.sort((edges[:-1, None] + spread.astype(np.int64)).ravel())))


def _deepest(form: FloatFormat) -> float:
    """The largest gap of a profile: beyond it exp is 0, in float32 and in the format."""
    return min(max(_HIGHEST, 1.02 * -float(log(form.smallest_subnormal))), form.max_finite)


def profile_exp(context: Context) -> Iterator[Batch]:
    """Rows 0, -d, -d', …: p_j / p_0 is exp(-d_j) whatever the sum, so that a row tests n - 1 arguments of exp.

    Of a result with one value a row each row has one argument, and only gaps that show there are swept.
    """
    draw, single = context.draw, context.op.result != "elements"
    deepest = min(24.0, _deepest(draw.fmt)) if single else _deepest(draw.fmt)
    gaps = floats_between(draw, _LOWEST, deepest, context.profile.stride * (8 if single else 1))
    scale = {name: float(draw.rng.choice((0.5, 2.0))) for name in named(context.op, "divisor")}
    factor = math.prod(scale.values())
    lengths = (2,) if single else (17, 64, 1000, 64, 17, 64, 2)
    start = place = 0
    while start < len(gaps):
        n = lengths[place % len(lengths)]
        rows = max(_CALL // n, 1) if n > 2 else _CALL // 8 if not single else _CALL // 2
        part = gaps[start : start + rows * (n - 1)]
        whole = np.resize(part, (-(-len(part) // (n - 1)), n - 1))
        logits = np.zeros((len(whole), n), whole.dtype)
        np.multiply(whole, -factor, out=logits[:, 1:], dtype=whole.dtype, casting="unsafe")
        yield context.batch(logits, options=scale, plain=True)
        start, place = start + len(part), place + 1


def profile_log(context: Context) -> Iterator[Batch]:
    """k equal logits and a lower one, k = 1 … 99: the sum of exponentials is any float between k and k + 1.

    Rows of 2, 4, 8, … logits hold them; what is left of a row is too low to count.
    """
    draw = context.draw
    fine = context.profile.stride * (16 if context.op.result == "elements" else 8)
    lowest = -min(_HIGHEST, draw.fmt.max_finite)
    for n in (2, 4, 8, 16, 32, 64, 100):
        each = max(2**23 // fine, 256) if n == 2 else max(2**15 // fine, 8) * 4
        k, place = (part.ravel() for part in np.mgrid[n // 2 if n < 100 else 64 : n, 0:each])
        shares = (place + draw.rng.random(place.shape)) / each
        for start in range(0, len(k), _CALL // n):
            some = slice(start, start + _CALL // n)
            logits = np.where(np.arange(n) < k[some, None], 0.0, lowest)
            np.put_along_axis(logits, k[some, None], log(shares[some, None]), axis=1)
            yield context.batch(logits, plain=True)


def profile_x(context: Context) -> Iterator[Batch]:
    """Elements of both signs, on a stride of the floats."""
    draw = context.draw
    stride = context.profile.stride * (2 if len(context.op.inputs) > 1 else 1)
    sizes = floats_between(draw, _LOWEST, _deepest(draw.fmt), stride)
    for start in range(0, len(sizes), _CALL):
        part = sizes[start : start + _CALL]
        for sign in (1.0, -1.0):
            yield context.batch(sign * part)


_EVEN = 4096


def every_value(context: Context) -> Iterator[Batch]:
    """All values of a format where that is cheap, an even sweep of its ordinals where not; -0 and NaN where it has them."""
    fmt = context.draw.fmt
    top = fmt.max_ordinal
    if 2 * top < 1000 or (fmt.bits <= 16 and context.profile.every > 1000):
        ordinals = np.arange(-top, top + 1)
    else:
        ordinals = (np.linspace(-1.0, 1.0, _EVEN) * (top / 2)).astype(np.int64) * 2
    values = fmt.widen(fmt.from_ordinal(ordinals))
    yield context.batch(np.concatenate([values, [-0.0], [np.nan] if fmt.has_nan else []]))


def _telling_rows(draw: Draw, n: int, turn: int) -> FloatArray:
    """The mass at the end; a peak in the last column (or the first) beyond exp's range; equal logits, whose sum is n."""
    level = 0.25 * draw.rng.random(n) - 2.0 * (turn % 2)
    tail = max(1, min(n // 3, 2 ** int(draw.rng.integers(0, 9))))
    level[-tail:] += 1.0 + log(n / tail)
    peak = 0.25 * draw.rng.random(n)
    peak[-1 if turn % 4 else 0] = _peak(draw)
    return _coarse(np.array([level, peak, np.zeros(n)]))


def _coarse(logits: FloatArray) -> FloatArray:
    """Multiples of 2**-10, whose differences are exact: sound code then errs by little, and all else shows."""
    return np.asarray(np.rint(logits * 1024.0) / 1024.0)


def _peak(draw: Draw) -> float:
    """A logit whose exponential overflows unless the maximum is taken off."""
    return min(1.5 * max(edge.overflow for edge in draw.edges), draw.fmt.max_finite / 4)


def every_size(context: Context) -> Iterator[Batch]:
    """Three rows of every length."""
    for n in range(1, context.profile.every + 1):
        yield context.batch(_telling_rows(context.draw, n, n), plain=True)


_VOCABULARIES = (
    30522, 32000, 32768, 50257, 50304, 64000, 65536, 100277, 128000, 128256, 129280, 151936, 152064, 200064, 256000, 262144,
)  # fmt: skip
"""Row lengths of known vocabularies."""


def far_sizes(context: Context) -> Iterator[Batch]:
    """Longer rows: small multiples of powers of two and of ten, one more and one less, vocabularies, random lengths."""
    draw, every, most = context.draw, context.profile.every, context.profile.farthest
    lengths = _few_far(draw, every) if most < _FAR else _far(draw, every, most)
    for turn, n in enumerate(sorted(n for n in lengths if every < n <= most)):
        rows = _telling_rows(draw, n, turn)
        yield context.batch(rows if n <= _FAR else rows[turn % 3 :][:1], plain=True)


_FAR = 2**14
"""The longest row of an audit to which a few of the longer lengths are enough; of longer rows one a length is tried."""


def _few_far(draw: Draw, every: int) -> set[int]:
    return {m * 2**k for k in range(8, 14) for m in (1, 3)} | {int(n) for n in draw.rng.integers(every, 4096, 4)}


def _far(draw: Draw, every: int, most: int) -> set[int]:
    multiples = {m * 2**k + d for k in range(8, 17) for m in (3, 5, 7, 9, 11, 13) for d in (-1, 0, 1)}
    multiples |= {2**k + d for k in range(11, 19) for d in (-1, 0, 1)}
    multiples = {n for n in multiples if n <= 20_000} | {n for n in multiples if draw.rng.random() < 0.04}
    tens = {m * 1000 for m in range(3, 20)}
    drawn = {int(n) for n in exp(draw.rng.uniform(log(every), log(most), 40))}
    drawn |= set(map(int, draw.rng.integers(every, 16_384, 30))) | {
        8 * int(n) for n in draw.rng.integers(256, 4096, 12)
    }
    return {*multiples, *tens, *drawn, *_VOCABULARIES}


def spikes(context: Context) -> Iterator[Batch]:
    """A peak in every column, one a row: too high for a shift that missed it, and just high enough for a sum to miss."""
    widths = (17, 64, 300) if context.profile.every < 1024 else (300, 1025)
    for n in widths:
        for height in (3.0 + log(n), _peak(context.draw)):
            yield context.batch(_coarse(0.25 * context.draw.rng.random((n, n)) + height * np.eye(n)), plain=True)


def stretches(context: Context) -> Iterator[Batch]:
    """Long rows with all their mass in one of 64 stretches, or 32: what is left out of one shows as a share of it."""
    draw = context.draw
    for most in (4096, 2**15, context.profile.farthest // 2):
        if most > context.profile.farthest:
            continue
        n = most + int(draw.rng.integers(0, 64))
        parts = 64 if most < 2**16 else 32
        edges = np.linspace(0, n, parts + 1).astype(np.int64)
        for first in range(0, parts, 8):
            logits = np.full((8, n), -12.0)
            for row in range(8):
                logits[row, edges[first + row] : edges[first + row + 1]] = 0.0
            yield context.batch(logits, plain=True)


def _sizes_of_batches(context: Context) -> IntArray:
    """Every small number of rows, and uneven large ones."""
    few = np.arange(1, 131)
    if context.profile.every < 1024:
        return few
    drawn = exp(context.draw.rng.uniform(log(130), log(2**16), 10)).astype(np.int64)
    near = [2**k + d for k in range(8, 14) for d in (-1, 1, 3)] + [3 * 2**k + 1 for k in range(6, 13)]
    return np.unique(np.concatenate([few, drawn, near, [1000, 3333, 10_001, 65_536, 65_537, 70_001, 131_075]]))


def batch_sizes(context: Context) -> Iterator[Batch]:
    """So many rows, neighbours at very different levels, short and odd ones; of losses the sum and the mean as well."""
    for rows in _sizes_of_batches(context):
        n = 2 + int(context.draw.rng.integers(0, 4)) if rows < 5000 else 2
        logits = _coarse(ordinary(context.draw, int(rows), n))
        levels = mixed_scale(context.draw, 128, n)
        logits[int(rows) % 2 :: 2] = np.resize(levels, logits.shape)[int(rows) % 2 :: 2]
        batch = context.batch(logits, plain=True)
        yield batch
        for name in named(context.op, "reduction"):
            if rows > 60_000 or rows % 8 == 1:
                other = ("sum", "mean")[int(rows) % 2]
                yield context.around(batch.inputs, options={**batch.options, name: other})
