"""Kullback-Leibler divergences of two softmaxes, in tier 2.

KL(p || q) = sum p_i a_i + log S_q - log S_p with a_i = (x_i - m_x) - (z_i - m_z), exact as a sum of two pairs up to
2**-103 of its terms. The sum cancels where p and q are close, so that absolute errors are carried: p's bound times
|a_i|, 2**-90 sum p |a_i| for products and the tree, the bound of both logs, and what is dropped below 2**-1000.
What that leaves open goes to ``closeness``; divergences below 2**-900, and sums of rational numbers and e**-100 that are
midpoints, go to tier 3.
Rows that differ by a constant, their masks being the same, have the divergence 0 exactly. All is times 2**-70 where
logits are beyond 2**900.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.formats import FloatArray, FloatFormat, IntArray
from xent_verify.core.model import Batch
from xent_verify.core.shapes import clipped, full
from xent_verify.truth import doubledouble as dd
from xent_verify.truth import special
from xent_verify.truth.closeness import Outside, closeness
from xent_verify.truth.compose import Answer, Group, Out, Rows, loaded
from xent_verify.truth.engines import SCALE, Engine, Terms, terms
from xent_verify.truth.pieces import Piece, bounded, suspects

__all__ = ["Divergences"]

_BEYOND = 2.0**900


@dataclass(frozen=True, slots=True)
class Divergences:
    """KL of the rows of two arrays of logits."""

    p: NDArray[np.generic]
    q: NDArray[np.generic]

    @property
    def rows(self) -> int:
        return int(self.p.shape[0])

    @property
    def n(self) -> int:
        return int(self.p.shape[1])

    @property
    def width(self) -> int:
        return 1

    @property
    def single(self) -> bool:
        return True

    def loose(self, _engine: Engine, /) -> None:
        return None

    def answer(self, engine: Engine, rows: Rows, fmt: FloatFormat, _out: Out = None, /) -> Answer:
        p, q = loaded(self.p[rows]), loaded(self.q[rows])
        piece = _divergence(engine, p, q)
        mask = suspects(piece, fmt)
        if mask.any():
            piece = _closer(piece, np.flatnonzero(mask), engine, p, q)
        part = (slice(0, 1), piece, mask)
        if p.holes is None and q.holes is None:
            return Answer((part,))
        inputs = {"logits_p": self.p[rows], "logits_q": self.q[rows]}
        return Answer((part,), *special.resolve(Batch("kl_divergence", fmt.name, "", inputs)))


def _distances(t: Terms, group: Group, shrink: FloatArray) -> dd.Pair:
    """x - m, times ``shrink``; 0 at holes."""
    m = np.reshape(t.row.m, (-1, 1))
    high, low = dd.two_sum(group.x * shrink, full(m * -shrink, group.x.shape))
    if group.holes is None:
        return high, low
    return np.where(group.holes, 0.0, high), np.where(group.holes, 0.0, low)


def _alike(first: Group, second: Group) -> NDArray[np.bool_]:
    """Rows [R, 1] whose masks are the same: elsewhere q has mass where p has none, and distances do not tell."""
    masks = [np.zeros(group.x.shape, bool) if group.holes is None else group.holes for group in (first, second)]
    return np.asarray((masks[0] == masks[1]).all(axis=1, keepdims=True))


def _probabilities(t: Terms) -> Piece:
    """p of whole rows, as one piece of plain arrays."""
    pieces = [t.engine.softmax(part, t.row).piece() for part in t.parts]
    pieces = [piece if t.axis else piece.transposed for piece in pieces]
    shape = pieces[0].hi.shape
    hi, exponent, lo, radius = (
        np.concatenate([full(getattr(piece, name), piece.hi.shape) for piece in pieces], axis=1)
        for name in ("hi", "exponent", "lo", "full_radius")
    )
    assert hi.shape[0] == shape[0]
    return Piece(hi, exponent, lo, radius, t.engine.tier)


def _some(group: Group, rows: IntArray) -> Group:
    return Group(group.x[rows], None if group.holes is None else group.holes[rows])


def _closer(piece: Piece, rows: IntArray, engine: Engine, first: Group, second: Group) -> Piece:
    """The piece, some of its rows as ``closeness`` has them, where that is narrower."""
    first, second = _some(first, rows), _some(second, rows)
    t = terms(engine, first.x, first.holes)
    with np.errstate(all="ignore"):  # differences may overflow: such rows are not for this
        change = dd.two_sum(second.x, -first.x)
        p = _probabilities(t)
        power = np.maximum(p.exponent, -1000).astype(np.int32)
        hole = np.zeros(p.hi.shape, bool) if first.holes is None else first.holes
        change = np.where(hole, 0.0, change[0]), np.where(hole, 0.0, change[1])
        p_words = np.where(hole, 0.0, np.ldexp(p.hi, power)), np.where(hole, 0.0, np.ldexp(p.lo, power))
        error = np.where(hole, 0.0, np.ldexp(np.asarray(p.radius), power) * 1.001 + 2.0**-998)
        value, slack, fit = closeness(p_words, error, change, _outside(first, second, p_words, error))
        better = bounded(value[0][:, 0], value[1][:, 0], 0, slack[:, 0], engine.tier)
    known = np.ldexp(1.0, clipped(piece.exponent[rows] - better.exponent, -2000, 1000).astype(np.int32))
    fit = (fit & _covered(first, second))[:, 0] & (
        np.asarray(better.radius) < np.asarray(piece[rows].full_radius) * known
    )
    return piece.patched(rows[fit], better[fit])


def _covered(first: Group, second: Group) -> NDArray[np.bool_]:
    """Rows [R, 1] where q has every class that p has."""
    if second.holes is None:
        return np.ones((second.x.shape[0], 1), bool)
    holes = np.zeros(first.x.shape, bool) if first.holes is None else first.holes
    return np.asarray((holes | ~second.holes).all(axis=1, keepdims=True))


def _outside(first: Group, second: Group, p: dd.Pair, error: FloatArray) -> Outside | None:
    """The classes that q has and p has not; None where there are none."""
    if first.holes is None:
        return None
    mask = first.holes if second.holes is None else first.holes & ~second.holes
    if not mask.any():
        return None
    k = np.where(first.holes, -np.inf, first.x).argmax(axis=1)[:, None]
    largest, high, low, off = (np.take_along_axis(part, k, 1) for part in (first.x, *p, error))
    distance = dd.two_sum(np.where(mask, second.x, 0.0), np.where(mask, -largest, 0.0))
    return Outside(mask, distance, (full(high, mask.shape), full(low, mask.shape)), off)


def _divergence(engine: Engine, first: Group, second: Group) -> Piece:
    """The divergences of rows, as a 1-D piece."""
    t, s = terms(engine, first.x, first.holes), terms(engine, second.x, second.holes)
    largest = np.maximum(np.abs(first.x).max(axis=1), np.abs(second.x).max(axis=1))[:, None]
    shrink = np.where(largest > _BEYOND, 2.0**-70, 1.0)
    x, z = _distances(t, first, shrink), _distances(s, second, shrink)
    a = dd.add(x, (-z[0], -z[1]))
    p = _probabilities(t)
    if first.holes is not None:
        a = (np.where(first.holes, 0.0, a[0]), np.where(first.holes, 0.0, a[1]))
    power = np.maximum(p.exponent, -1000).astype(np.int32)
    p_words = np.ldexp(p.hi, power), np.ldexp(p.lo, power)
    size = np.abs(x[0]) + np.abs(z[0])
    if first.holes is not None:
        size = np.where(first.holes, 0.0, size)
    error = (np.ldexp(np.asarray(p.radius), power) * 1.001 + 2.0**-90 * p_words[0] + 2.0**-990) * size
    back = 2.0**-SCALE * shrink
    p_log, q_log = (engine.log(u.row) for u in (t, s))
    p_log, q_log = ((np.reshape(log[0], (-1, 1)) * back, np.reshape(log[1], (-1, 1)) * back) for log in (p_log, q_log))
    high, low = dd.add(dd.tree_sum(*dd.multiply(p_words, a), axis=1), dd.add(q_log, (-p_log[0], -p_log[1])))
    slack = error.sum(axis=1, keepdims=True) * 1.001 + (engine.relative * 1.001 + 2.0**-95) * (p_log[0] + q_log[0])
    same = ((x[0] == z[0]) & (x[1] == z[1])).all(axis=1, keepdims=True) & (shrink == 1.0)
    same &= _alike(first, second)
    slack = np.where(same, 0.0, slack + 2.0**-990)
    high, low = np.where(same, 0.0, high), np.where(same, 0.0, low)
    exponent = np.where(shrink < 1, 70, 0)
    return bounded(high[:, 0], low[:, 0], exponent[:, 0], slack[:, 0], engine.tier)
