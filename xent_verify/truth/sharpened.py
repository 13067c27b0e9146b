"""Where log-softmax and logsumexp lie too close to a midpoint for a relative bound: ``sharp`` for the rows of an engine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.formats import FloatArray, FloatFormat, IntArray
from xent_verify.truth import doubledouble as dd
from xent_verify.truth.engines import SCALE, Terms
from xent_verify.truth.pieces import Piece, suspects
from xent_verify.truth.sharp import beside_midpoints, exact_plus_small, usable

__all__ = ["Placed", "beside", "log_softmax", "sharp_sums", "sharpened"]

Mask = NDArray[np.bool_]
Placed = tuple[IntArray, IntArray, Piece]
"""(rows, columns, 1-D piece)"""

_SHIFT = 200  # binades by which sums of numbers near the top of the range are scaled down


def beside(x: FloatArray, mask: Mask, t: Terms, fmt: FloatFormat) -> Placed:
    """Suspects (which are taken out of the mask) that lie just beside a midpoint: (rows, columns, piece)."""
    positions, rows, places = _suspects(mask, t)
    m, log = (part.reshape(-1).take(rows) for part in (t.row.m, t.row.log))
    fit, piece = beside_midpoints(x.reshape(-1).take(positions), m, log, fmt, t.engine.tier)
    mask.reshape(-1)[positions[fit]] = False
    return rows[fit], places[fit], piece


def sharp_sums(x: FloatArray, mask: Mask, t: Terms) -> Placed:
    """Sharp sums for the suspects (which are taken out of the mask) where there are any: (rows, columns, piece)."""
    positions, rows, places = _suspects(mask, t)
    fit, piece = _sharp(x.reshape(-1).take(positions), t.row.m.reshape(-1).take(rows), -1.0, rows, t)
    mask.reshape(-1)[positions[fit]] = False
    return rows[fit], places[fit], piece


def _suspects(mask: Mask, t: Terms) -> tuple[IntArray, IntArray, IntArray]:
    """Flat positions in the layout of ``t``, rows, columns."""
    positions = np.flatnonzero(mask)
    first, second = np.divmod(positions, mask.shape[1])
    return (positions, first, second) if t.axis else (positions, second, first)


def log_softmax(t: Terms, x: FloatArray, fmt: FloatFormat) -> tuple[Piece, Mask]:
    """log p of one logit a row (in the layout of ``t``), and what ``fmt`` may leave undecided."""
    piece = t.engine.log_softmax(x, t.row).piece()
    return sharpened(piece, x, -1.0, t, fmt)


def sharpened(piece: Piece, x: FloatArray, sign: float, t: Terms, fmt: FloatFormat) -> tuple[Piece, Mask]:
    """One element a row: x - m - log S (sign -1), or x + log S, enclosed again where suspect and log S is small."""
    mask = suspects(piece, fmt)
    if not mask.any():
        return piece, mask
    rows = np.flatnonzero(mask)
    m = t.row.m.reshape(-1).take(rows)
    fit, sharp = _sharp(x.reshape(-1).take(rows), m if sign < 0 else np.zeros_like(m), sign, rows, t)
    return piece.patched(np.unravel_index(rows[fit], mask.shape), sharp), mask


def _sharp(a: FloatArray, b: FloatArray, sign: float, rows: IntArray, t: Terms) -> tuple[Mask, Piece]:
    """a - b + sign * log S of elements in the given rows, by ``sharp``: for which that is of use, and those enclosed."""
    log = t.engine.log(t.row)[0].reshape(-1).take(rows) * 2.0**-SCALE
    large = np.maximum(np.abs(a), np.abs(b)) >= 2.0**900
    fit = ~t.row.alone.reshape(-1).take(rows)
    if large.any():
        fit &= usable(a, b, large)
        shrink = np.where(large, 2.0**-_SHIFT, 1.0)
        a, b, log = a * shrink, b * shrink, log * shrink
    exact = dd.two_sum(a, -b)
    size = np.abs(exact[0])
    fit &= (size > 2.0**-900) & (log < size * 2.0**-25)
    better = exact_plus_small((exact[0][fit], exact[1][fit]), sign * log[fit], t.engine.relative, t.engine.tier)
    return fit, replace(better, exponent=better.exponent + np.where(large[fit], _SHIFT, 0))
