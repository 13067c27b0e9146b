"""The fast tiers under one signature, so that every composition is written once.

An engine makes parts of rows, joins them to rows, and answers from both. Compositions build on log S: ``log`` gives it
times 2**SCALE, true to ``relative`` of itself plus ``fuzz`` (absolute; rows of up to 2**40). ``block`` is the number of
elements worked on at a time: enough to amortise NumPy's calls, few enough for the scratch arrays (some 20) to stay in
the cache. It also fixes where rows longer than it are cut, so it belongs to the algorithm: results do not depend on how
rows are grouped, and never on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.failures import UsageError
from xent_verify.core.formats import FloatArray, FloatFormat
from xent_verify.truth import bounds, dd_numpy, float64_tier, selftest
from xent_verify.truth import doubledouble as dd
from xent_verify.truth.dd_numpy import SCALE
from xent_verify.truth.loose import Loose
from xent_verify.truth.pieces import VANISHED, Piece

__all__ = [
    "FAST",
    "FLOAT64",
    "FULL",
    "SCALE",
    "Engine",
    "Terms",
    "accelerated",
    "chain",
    "has_quick",
    "tempered",
    "terms",
]


@dataclass(frozen=True, slots=True)
class Engine:
    """One fast tier (see the module docstring)."""

    tier: int
    block: int
    radius: float
    relative: float
    part: Callable[..., Any]
    row: Callable[..., Any]
    softmax: Callable[..., Loose]
    log_softmax: Callable[..., Loose]
    logsumexp: Callable[[Any], Piece]
    others: Callable[[Any], Loose]
    log: Callable[[Any], dd.Pair]
    fuzz: float
    like: Loose  # an empty softmax, and
    log_like: Loose  # log-softmax: what its results have in common
    whole: Callable[..., tuple[Any, Any]] | None = None  # parts and rows in one go, for rows of any length


def _tier1_log(row: float64_tier.Row) -> dd.Pair:
    return row.log * 2.0**SCALE, np.zeros_like(row.log)


def _tier2_log(row: dd_numpy.Row) -> dd.Pair:
    return row.log


_NONE = np.empty(0)

FLOAT64 = Engine(
    tier=float64_tier.TIER,
    block=16384,
    radius=bounds.TIER1_RADIUS,
    relative=bounds.TIER1_RELATIVE,
    part=float64_tier.part,
    row=float64_tier.row,
    softmax=float64_tier.softmax,
    log_softmax=float64_tier.log_softmax,
    logsumexp=float64_tier.logsumexp,
    others=float64_tier.others,
    log=_tier1_log,
    fuzz=2.0 ** (SCALE - 176),
    like=Loose(_NONE, None, 0, bounds.TIER1_RADIUS, float64_tier.TIER, float64_tier.FLOOR),
    log_like=Loose(_NONE, None, 0, bounds.TIER1_RADIUS, float64_tier.TIER, float64_tier.FLOOR),
)
"""Tier 1."""


def _tier2(*, full: bool) -> Engine:
    radius = bounds.FULL_RADIUS if full else bounds.FAST_RADIUS
    return Engine(
        tier=dd_numpy.TIER,
        block=16384,
        radius=radius,
        relative=bounds.FULL_RELATIVE if full else bounds.FAST_RELATIVE,
        part=partial(dd_numpy.part, full=full),
        row=partial(dd_numpy.row, full=full),
        softmax=dd_numpy.softmax,
        log_softmax=dd_numpy.log_softmax,
        logsumexp=dd_numpy.logsumexp,
        others=dd_numpy.others,
        log=_tier2_log,
        fuzz=2.0 ** (SCALE - 1340),
        like=Loose(_NONE, _NONE, 0, radius, dd_numpy.TIER, VANISHED),
        log_like=Loose(_NONE, _NONE, 0, radius, dd_numpy.TIER, dd_numpy.NOTHING),
    )


FAST = _tier2(full=False)
"""Tier 2, exponentials to 2**-80."""


def tempered(temperature: float) -> tuple[Engine, ...]:
    """Engines for softmax(x / |temperature|)."""
    return (replace(FAST, part=partial(dd_numpy.part, divisor=abs(temperature))),)


FULL = _tier2(full=True)
"""Tier 2, exponentials to 2**-90: for the few elements that FAST leaves open, so that tier 3 sees almost none."""


WORTHWHILE = 1 << 18


@cache
def _tried() -> None:
    """``UsageError`` where NumPy's arithmetic is not what every bound assumes."""
    found = selftest.faults(dd.two_sum, dd.two_product, dd.split)
    if found:
        raise UsageError(f"NumPy's float64 arithmetic does not keep {', '.join(found)} here: nothing can be certified")


@cache
def accelerated() -> Engine | None:
    """FAST compiled by Numba (the extra ``fast``); None where that is not installed, or gives other bits than NumPy."""
    try:
        from xent_verify.truth import dd_numba
    except ImportError:
        return None
    engine = replace(
        FAST, block=65536, whole=dd_numba.whole, softmax=dd_numba.softmax, log_softmax=dd_numba.log_softmax
    )
    return engine if _alike(engine) else None


def has_quick(fmt: FloatFormat) -> bool:
    """Whether tier 1 serves a target format on this machine."""
    return fmt.bits < 64 and float64_tier.trusted()


def chain(size: int, *, quick: bool) -> tuple[Engine, ...]:
    """The engines to try for a number of logits, cheapest first; tier 1 only if ``quick``.

    Compiled kernels take a second to load, so that they serve batches of 2**18 logits and more. Their bits are NumPy's.
    """
    _tried()
    if quick:
        return (FLOAT64, FAST, FULL)
    compiled = accelerated() if size >= WORTHWHILE else None
    return (FAST if compiled is None else compiled, FULL)


_COLUMN_LIMIT = 256


def _alike(engine: Engine) -> bool:
    """Whether an engine's results are those of FAST, bit for bit: compilers may contract, reorder or flush."""
    x = np.random.default_rng(11).standard_normal((6, 301)) * np.array([[0.5], [5], [90], [700], [1e5], [5e-324]])
    results = []
    for one in (FAST, engine):
        made = terms(one, x, None)
        p, log_p = one.softmax(made.parts[0], made.row), one.log_softmax(made.parts[0].x, made.row)
        results.append((*made.row.t, p.high, p.low, p.exponent, log_p.high, log_p.low, log_p.exponent))
    return all(np.array_equal(*pair) for pair in zip(*results, strict=True))


@dataclass(frozen=True, slots=True)
class Terms:
    """A group of rows after its exponentials: parts (with the columns they cover), rows, layout."""

    engine: Engine
    parts: tuple[Any, ...]
    columns: tuple[slice, ...]
    row: Any
    axis: int  # 0: short rows stand as columns, so that inner loops run over rows


def terms(
    engine: Engine, x: FloatArray, holes: NDArray[np.bool_] | None, *, keep: bool = True, out: Any = None
) -> Terms:
    """Parts and rows of finite logits ``x`` (k, n), n > 0; ``keep``: whether the single terms will be asked for.

    ``out``: (high, low, exponent) arrays in which results may take shape.
    """
    n = x.shape[1]
    if holes is not None:
        x = np.where(holes, -np.finfo(np.float64).max, x)
    if engine.whole is not None:
        part, row = engine.whole(x, holes, keep=keep, out=out)
        return Terms(engine, (part,), (slice(0, n),), row, 1)
    axis = 0 if n < _COLUMN_LIMIT else 1
    if axis == 0:
        x = np.ascontiguousarray(x.T)
        holes = None if holes is None else np.ascontiguousarray(holes.T)
    m = x.max(axis=axis, keepdims=True)
    columns = tuple(slice(a, min(a + engine.block, n)) for a in range(0, n, engine.block))
    parts = tuple(
        engine.part(
            x if len(columns) == 1 else x[:, c],
            m,
            axis,
            None if holes is None else holes[:, c] if axis else holes,
            out=out[0][:, c] if out is not None and axis else None,
        )
        for c in columns
    )
    return Terms(engine, parts, columns, engine.row(m, parts, axis), axis)
