"""Moves of the guided search: ``(draw, rows, mates) -> rows``, many rows at once, all in float64 on exact values.

Each move bends one thing that errors depend on: single bits, ties, gaps to the maximum, the common offset, the spread,
the mask. -inf stays -inf except where a move is about masks.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.formats import FloatArray, IntArray
from xent_verify.regimes.draw import Draw
from xent_verify.regimes.portable import exp, exp2, log

__all__ = ["MOVES", "Move"]

Move = Callable[[Draw, FloatArray, FloatArray], FloatArray]

_LEVELS = (0.5, 1.0, log(2.0), log(10.0), 2.0, 10.0)
"""Thresholds in code tend to be whole multiples of these."""


def _spot(draw: Draw, rows: FloatArray) -> tuple[IntArray, IntArray]:
    """One random position in each row."""
    count, n = rows.shape
    return np.arange(count, dtype=np.int64), np.asarray(draw.rng.integers(0, n, count), dtype=np.int64)


def _stepped(draw: Draw, rows: FloatArray, steps: IntArray) -> FloatArray:
    finite = np.isfinite(rows)
    return np.where(finite, draw.step(np.where(finite, rows, 0.0), steps), rows)


def _tops(rows: FloatArray) -> FloatArray:
    """The maximum of each row (0 where nothing is finite)."""
    top: FloatArray = rows.max(axis=1)
    return np.where(np.isfinite(top), top, 0.0)


def _jumps(draw: Draw, count: int) -> IntArray:
    """Signed ordinal steps of every size: 1 as often as the largest power of two."""
    size = np.left_shift(np.int64(1), draw.rng.integers(0, draw.fmt.bits - 1, count))
    return np.where(draw.rng.random(count) < 0.5, -size, size)


def one_value(draw: Draw, rows: FloatArray, mates: FloatArray) -> FloatArray:  # noqa: ARG001  (the table's signature)
    """One logit some ordinals on."""
    steps = np.zeros(rows.shape, dtype=np.int64)
    steps[_spot(draw, rows)] = _jumps(draw, len(rows))
    return _stepped(draw, rows, steps)


def neighbours(draw: Draw, rows: FloatArray, mates: FloatArray) -> FloatArray:  # noqa: ARG001
    """Every logit at most three ordinals on: the fine climb."""
    return _stepped(draw, rows, draw.rng.integers(-3, 4, rows.shape))


def bits(draw: Draw, rows: FloatArray, mates: FloatArray) -> FloatArray:  # noqa: ARG001
    """One bit of one logit flipped."""
    spot = _spot(draw, rows)
    places = draw.rng.integers(0, draw.fmt.bits, len(rows)).astype(draw.fmt.unsigned)
    single = np.left_shift(np.ones(len(rows), dtype=draw.fmt.unsigned), places)
    wide = draw.fmt.widen(draw.fmt.from_bits(draw.fmt.to_bits(draw.narrow(rows[spot])) ^ single))
    result = rows.copy()
    result[spot] = np.where(np.isfinite(wide) & np.isfinite(rows[spot]), wide, rows[spot])
    return result


def tie(draw: Draw, rows: FloatArray, mates: FloatArray) -> FloatArray:  # noqa: ARG001
    """One logit made equal to another."""
    result = rows.copy()
    result[_spot(draw, rows)] = rows[_spot(draw, rows)]
    return result


def gap(draw: Draw, rows: FloatArray, mates: FloatArray) -> FloatArray:  # noqa: ARG001
    """One logit's distance to the maximum stretched a little, or drawn anew over all sizes."""
    spot, top = _spot(draw, rows), _tops(rows)
    reach = 1.1 * max(-edge.vanishing for edge in draw.edges)
    fresh = exp(draw.rng.uniform(log(draw.fmt.unit_roundoff), log(reach), len(rows)))
    old = np.where(np.isfinite(rows[spot]), top - rows[spot], fresh)
    stretched = old * exp(0.1 * draw.rng.standard_normal(len(rows)))
    result = rows.copy()
    result[spot] = top - np.where(draw.rng.random(len(rows)) < 0.5, fresh, stretched)
    return result


def round_gap(draw: Draw, rows: FloatArray, mates: FloatArray) -> FloatArray:  # noqa: ARG001
    """One logit's distance to the maximum moved to a round number or an edge of exp, or an ordinal or two beside it."""
    spot, top = _spot(draw, rows), _tops(rows)
    unit = draw.rng.choice(np.array(_LEVELS), len(rows))
    old = np.where(np.isfinite(rows[spot]), top - rows[spot], 0.0)
    edges = [value for edge in draw.edges for value in (edge.overflow, *(-low for low in edge.low))]
    rounded = np.where(draw.rng.random(len(rows)) < 0.8, np.rint(old / unit) * unit, draw.rng.choice(edges, len(rows)))
    result = rows.copy()
    result[spot] = draw.step(np.clip(top - rounded, draw.lowest, -draw.lowest), draw.rng.integers(-2, 3, len(rows)))
    return result


def offset(draw: Draw, rows: FloatArray, mates: FloatArray) -> FloatArray:  # noqa: ARG001
    """The whole row moved up or down, or to where its maximum is 0."""
    size = exp2(draw.rng.uniform(-6.0, min(draw.fmt.e_max, 2 * draw.fmt.precision), len(rows)))
    move = np.where(draw.rng.random(len(rows)) < 0.5, -size, size)
    return rows + np.where(draw.rng.random(len(rows)) < 0.2, -_tops(rows), move)[:, None]


def cancel(draw: Draw, rows: FloatArray, mates: FloatArray) -> FloatArray:  # noqa: ARG001
    """The row moved to where its logsumexp is 0 but for rounding: the maximum against the logarithm of the sum."""
    top = _tops(rows)
    value: FloatArray = top + log(exp(rows - top[:, None]).sum(axis=1))
    return rows - value[:, None]


def fine(draw: Draw, rows: FloatArray, mates: FloatArray) -> FloatArray:  # noqa: ARG001
    """One logit an ordinal or a few on: the last steps of a climb."""
    steps = np.zeros(rows.shape, dtype=np.int64)
    steps[_spot(draw, rows)] = draw.rng.integers(1, 9, len(rows)) * draw.rng.choice([-1, 1], len(rows))
    return _stepped(draw, rows, steps)


def scale(draw: Draw, rows: FloatArray, mates: FloatArray) -> FloatArray:  # noqa: ARG001
    """All gaps to the maximum stretched together."""
    top = _tops(rows)[:, None]
    factor = exp(draw.rng.normal(0.0, 0.5, (len(rows), 1)))
    return np.where(np.isfinite(rows), top - (top - rows) * factor, rows)


def cross(draw: Draw, rows: FloatArray, mates: FloatArray) -> FloatArray:
    """Logits of two rows mixed, from a border on or at random."""
    n = rows.shape[1]
    border = np.arange(n) < draw.rng.integers(0, n + 1, (len(rows), 1))
    mixed = np.where(draw.rng.random((len(rows), 1)) < 0.5, border, draw.rng.random(rows.shape) < 0.5)
    return np.where(mixed, rows, mates)


def spread_value(draw: Draw, rows: FloatArray, mates: FloatArray) -> FloatArray:  # noqa: ARG001
    """One logit copied over a random stretch of its row: equal terms by the dozen."""
    n = rows.shape[1]
    ends = np.sort(draw.rng.integers(0, n + 1, (len(rows), 2)), axis=1)
    column = np.arange(n)
    inside: NDArray[np.bool_] = (column >= ends[:, :1]) & (column < ends[:, 1:])
    return np.where(inside, rows[_spot(draw, rows)][:, None], rows)


def mask(draw: Draw, rows: FloatArray, mates: FloatArray) -> FloatArray:
    """One logit masked, or given back from the mate; never the last finite one."""
    result = rows.copy()
    spot = _spot(draw, rows)
    low = -np.inf if draw.fmt.has_inf else draw.lowest
    result[spot] = np.where(np.isfinite(rows[spot]), low, np.where(np.isfinite(mates[spot]), mates[spot], 0.0))
    return np.where(np.isfinite(result).any(axis=1, keepdims=True), result, rows)


MOVES: tuple[Move, ...] = (
    one_value, fine, neighbours, bits, tie, gap, round_gap, offset, cancel, scale, cross, spread_value, mask,
)  # fmt: skip
