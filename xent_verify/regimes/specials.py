"""Makers of rows with masks, infinities and NaN, every one between ordinary rows that must not notice."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.formats import FloatArray, IntArray
from xent_verify.regimes.draw import Draw
from xent_verify.regimes.rows import low_levels, ordinary

__all__ = ["TILES", "all_masked", "masks", "nan", "plus_inf"]

TILES = tuple(2**k for k in range(3, 13))
"""Block sizes of kernels: 8 … 4096."""


def _cut(draw: Draw, rows: int, n: int) -> IntArray:
    """A border per row: at a tile's edge, or anywhere; at least 1 and below n where n allows."""
    tiles = np.array([tile for tile in TILES if tile < n] or [max(n // 2, 1)])
    tile = draw.cycle(tiles, rows)
    anywhere = draw.rng.integers(1, max(n, 2), (rows, 1))
    return np.where(draw.cycle((True, True, False), rows), tile, anywhere)


def _masked(draw: Draw, rows: int, n: int) -> NDArray[np.bool_]:
    column = np.arange(n)
    cut = _cut(draw, rows, n)
    other = draw.rng.integers(0, max(n, 1), (rows, 1))
    kinds = [
        column < cut,
        column >= cut,
        (column >= cut) & (column < 2 * cut),
        (column // np.minimum(cut, 8)) % 2 == 0,
        draw.rng.random((rows, n)) < 0.5,
        column != other,
    ]
    mask = np.choose(draw.cycle(np.arange(len(kinds)), rows), kinds).astype(bool)
    if n:
        full = mask.all(axis=1)
        mask[full, draw.columns(rows, n)[full]] = False
    return mask


def masks(draw: Draw, rows: int, n: int) -> FloatArray:
    """Prefix, suffix, block, striped, scattered masks and lone survivors; the survivors ordinary or very negative."""
    level = draw.cycle(np.concatenate([low_levels(draw), np.zeros(4)]), rows)
    values = np.where(level == 0, ordinary(draw, rows, n), draw.below(level, (rows, n), most=2))
    return np.where(_masked(draw, rows, n), -np.inf, values)


def _between(draw: Draw, special: FloatArray, every: int) -> FloatArray:
    """Special rows with each ``every``-th row ordinary."""
    rows, n = special.shape
    plain = (np.arange(rows) % every == every - 1)[:, None]
    return np.where(plain, ordinary(draw, rows, n), special)


def all_masked(draw: Draw, rows: int, n: int) -> FloatArray:
    return _between(draw, np.full((rows, n), -np.inf), every=2)


def plus_inf(draw: Draw, rows: int, n: int) -> FloatArray:
    base = ordinary(draw, rows, n)
    one = draw.place(base, np.inf)
    several = np.where(draw.rng.random((rows, n)) < 0.5, np.inf, one)
    with_mask = draw.place(np.where(draw.rng.random((rows, n)) < 0.5, -np.inf, base), np.inf)
    kinds = [one, several, with_mask]
    return _between(draw, np.choose(draw.cycle(np.arange(len(kinds)), rows), kinds), every=4)


def nan(draw: Draw, rows: int, n: int) -> FloatArray:
    """One NaN or several, first, last, in the middle or anywhere; among masks and infinities where there are any."""
    base = ordinary(draw, rows, n)
    low = -np.inf if draw.fmt.has_inf else draw.lowest
    high = np.inf if draw.fmt.has_inf else -draw.lowest
    scattered = np.where(draw.rng.random((rows, n)) < 0.5, np.nan, base)
    kinds = [
        base,
        base,
        scattered,
        np.full((rows, n), low),
        np.where(draw.rng.random((rows, n)) < 0.5, low, base),
        draw.place(base, high),
        base - 1000.0,
    ]
    return _between(draw, draw.place(np.choose(draw.cycle(np.arange(len(kinds)), rows), kinds), np.nan), every=4)
