"""Makers of finite rows: ``(draw, rows, n) -> float64 [rows, n]``, rounded to the format by whoever asks.

Each maker walks its own list of situations in a shuffled cycle, so that a few dozen rows show every one of them, and
fills the rest of the row at random.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from xent_verify.core.formats import FloatArray
from xent_verify.regimes.draw import Draw
from xent_verify.regimes.portable import exp, exp2, log

__all__ = ["SENTINELS", "Maker", "low_levels"]

Maker = Callable[[Draw, int, int], FloatArray]

SENTINELS = (-1e4, -3e4, -5e4, -65504.0, -1e9, -1e30, -1e38)
"""Numbers that code uses for "masked" or "no maximum yet". As logits they are numbers like any other."""


def ordinary(draw: Draw, rows: int, n: int) -> FloatArray:
    scale: FloatArray = draw.cycle((0.1, 1.0, 3.0, 10.0), rows)
    return draw.rng.standard_normal((rows, n)) * scale


def integers(draw: Draw, rows: int, n: int) -> FloatArray:
    most = math.floor(draw.fmt.max_finite)
    return np.clip(draw.rng.integers(-9, 10, (rows, n)).astype(np.float64), -most, most)


def pairs(draw: Draw, rows: int, n: int) -> FloatArray:
    """Row 0, g, g, …: the gap g swept over both signs and all sizes up to beyond exp's range."""
    reach = 1.1 * max(-edge.vanishing for edge in draw.edges)
    small = exp(draw.rng.uniform(log(draw.fmt.unit_roundoff / 4), log(reach), (rows, 1)))
    even = np.linspace(-reach, reach, rows)[:, None]
    signed = small * draw.cycle((-1.0, 1.0), rows)
    result = np.where(draw.cycle((False, True), rows), signed, even) * np.ones((rows, n))
    result[:, :1] = 0.0
    offset: FloatArray = draw.cycle((0.0, 0.0, 3.0, -50.0), rows)
    return result + offset


def overflow_edge(draw: Draw, rows: int, n: int) -> FloatArray:
    edge = draw.cycle([edge.overflow for edge in draw.edges], rows)
    near = draw.nudge(edge * np.ones((rows, n)))
    spread = edge * draw.rng.random((rows, n))
    share = near - log(max(n, 1)) + 0.05 * draw.rng.standard_normal((rows, n))  # terms fit, their sum does not
    kinds = [np.zeros_like(near), near, share, np.broadcast_to(-edge, near.shape), spread, near + 1.0]
    others = np.choose(draw.cycle(np.arange(len(kinds)), rows), kinds)
    return np.where(draw.cycle((True, True, False), rows), draw.place(others, near[:, :1]), others)


def underflow_edge(draw: Draw, rows: int, n: int) -> FloatArray:
    edge = draw.cycle([low for edge in draw.edges for low in edge.low], rows)
    near = draw.nudge(edge * np.ones((rows, n)))
    spread = edge * draw.rng.uniform(0.8, 1.2, (rows, n))
    others = np.where(draw.cycle((True, False), rows), near, spread)
    offset = draw.cycle((0.0, 1.0, 10.0), rows)
    whole_row = draw.cycle((True, False, False), rows)
    return np.where(whole_row, others, draw.place(others + offset, offset))


def wide_spread(draw: Draw, rows: int, n: int) -> FloatArray:
    most = draw.fmt.max_finite
    top: FloatArray = draw.cycle(draw.within((30.0, 100.0, 1e3, 1e4, math.sqrt(most), most)), rows)
    reach = log(top) / log(2.0)
    size = draw.place(exp2(draw.rng.random((rows, n)) * (reach + 5.0) - 5.0), top)
    return np.copysign(size, draw.rng.random((rows, n)) - 0.5)


def common_offset(draw: Draw, rows: int, n: int) -> FloatArray:
    point = 1.0 / draw.fmt.unit_roundoff
    sizes = (10.0, 20.0, 50.0, 80.0, 100.0, 1e3, 1e4, 1e5, 1e6, 1e8, point / 4, point, 4 * point, 1024 * point)
    offset = draw.cycle(draw.within([s * size for size in sizes for s in (1.0, -1.0)]), rows)
    return np.where(draw.cycle((True, True, False), rows), draw.below(offset, (rows, n)), offset)


def largest(draw: Draw, rows: int, n: int) -> FloatArray:
    top = draw.fmt.max_finite
    below = draw.fmt.widen(draw.fmt.next_down(np.asarray(top, dtype=draw.fmt.dtype)))
    pools = ((top, -top), (top, below), (-top, -below), (top, 0.0, 1.0), (-top, 0.0, -1.0), (top, top / 2, -top / 2))
    chosen = [draw.rng.choice(np.array(pool, dtype=np.float64), (rows, n)) for pool in pools]
    return np.choose(draw.cycle(np.arange(len(pools)), rows), chosen)


def ties(draw: Draw, rows: int, n: int) -> FloatArray:
    level = draw.cycle(draw.within((0.0, 1.0, -5.0, 100.0, -100.0, 1e4, -1e4, 1e30, 0.7)), rows)
    gap = draw.cycle((0.0, 1.0, 20.0, 200.0), rows)
    tied = draw.rng.random((rows, n)) < draw.cycle((0.3, 0.6, 0.9), rows)
    return draw.place(np.where(tied, level, level - gap), level)


def near_ties(draw: Draw, rows: int, n: int) -> FloatArray:
    level = draw.cycle(draw.within((2.0**-10, 0.5, 1.0, -1.0, 8.0, -64.0, 1000.0, -1000.0, 1e30)), rows)
    return draw.step(level * np.ones((rows, n)), draw.rng.integers(-2, 3, (rows, n)))


def dominated(draw: Draw, rows: int, n: int) -> FloatArray:
    reach = max(-edge.vanishing for edge in draw.edges)
    gap = exp(np.linspace(log(5.0), log(reach), rows))[:, None]
    offset = draw.cycle([level for level in (0.0, 0.0, 1.0, -3.0, 50.0) if draw.fmt.ulp(level) <= 1.0], rows)
    others = offset - gap * (1.0 + 0.1 * draw.rng.random((rows, n)))
    return draw.rng.permutation(draw.place(others, offset))


def tiny(draw: Draw, rows: int, n: int) -> FloatArray:
    bits = draw.rng.integers(0, draw.fmt.precision + 2, (rows, n))
    steps = draw.rng.integers(0, 2**62, (rows, n)) % np.left_shift(np.int64(1), bits)
    small = draw.step(np.zeros((rows, n)), steps)
    kinds = [np.zeros((rows, n)), small, np.where(draw.rng.random((rows, n)) < 0.3, 1.0, small)]
    size: FloatArray = np.choose(draw.cycle(np.arange(len(kinds)), rows), kinds)
    return np.copysign(size, draw.rng.random((rows, n)) - 0.5)


def low_levels(draw: Draw) -> FloatArray:
    """Very negative levels, down to the lowest finite value."""
    levels = (-20.0, -30.0, -31.0, -40.0, -64.0, -100.0, -200.0, -800.0, -1e3, -1.1e4, *SENTINELS)
    return draw.within((*levels, draw.lowest / 2, draw.lowest))


def very_negative(draw: Draw, rows: int, n: int) -> FloatArray:
    level = draw.cycle(low_levels(draw), rows)
    return np.where(draw.cycle((True, False), rows), draw.below(level, (rows, n), most=3), level)


def sentinels(draw: Draw, rows: int, n: int) -> FloatArray:
    level = draw.cycle(draw.within((*SENTINELS, draw.lowest)), rows)
    near = draw.step(level * np.ones((rows, n)), draw.rng.integers(-1, 2, (rows, n)))
    deeper = (level + np.maximum(level / 2, draw.lowest - level)) * np.ones((rows, n))
    kinds = [level * np.ones((rows, n)), near, draw.place(deeper, level), draw.place(near, level + 5.0)]
    return np.choose(draw.cycle(np.arange(len(kinds)), rows), kinds)


def positions(draw: Draw, rows: int, n: int) -> FloatArray:
    height = draw.cycle(draw.within((5.0, 30.0, 95.0, 150.0, 720.0, 1e3, 1e4)), rows)
    base = draw.rng.uniform(-3.0, 0.0, (rows, n))
    rising = height * np.linspace(0.0, 1.0, n)
    both_ends = base.copy()
    both_ends[:, :1] += height
    both_ends[:, -1:] += height
    kinds = [draw.place(base, height), rising, rising[:, ::-1], both_ends, draw.place(-base, -height)]
    return np.choose(draw.cycle(np.arange(len(kinds)), rows), kinds)


def mixed_scale(draw: Draw, rows: int, n: int) -> FloatArray:
    """Neighbouring rows far apart, so that a shift or a scale taken from another row destroys this one."""
    offsets = draw.within((0.0, 300.0, -300.0, 1e4, -1e4, 800.0, -800.0, 1e30, -1e30))
    if len(offsets) == 1:  # a format of a short range
        offsets = np.array([0.0, -draw.lowest, draw.lowest])
    return draw.below(np.resize(offsets, rows)[:, None], (rows, n), most=3)


def normalised(draw: Draw, rows: int, n: int) -> FloatArray:
    """Rounded log-probabilities: logsumexp cancels to nearly 0."""
    logits = ordinary(draw, rows, n)
    shifted = logits - logits.max(axis=1, keepdims=True, initial=-np.inf)
    result: FloatArray = shifted - log(exp(shifted).sum(axis=1, keepdims=True))
    return result


def any_bits(draw: Draw, rows: int, n: int) -> FloatArray:
    """Uniform over the ordinals of the format: every binade alike, most rows with one overwhelming term."""
    top = int(draw.fmt.ordinal(np.asarray(draw.fmt.max_finite, dtype=draw.fmt.dtype)))
    return draw.fmt.widen(draw.fmt.from_ordinal(draw.rng.integers(-top, top, (rows, n), endpoint=True)))
