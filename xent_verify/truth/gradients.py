"""Gradients of the cross entropy: p Y - y with Y = sum y, without cancellation where the target is a label.

Labels (y one-hot): p itself but for the target. There, p - 1 = -T/S if the target's logit is maximal (T leaves out one
maximal term, and by symmetry it does not matter which); otherwise p <= 1/2 and p - 1 loses nothing: its absolute error
is p's, at most half of p's relative bound, plus 2**-104 (tier 1: 2**-54).

Probability targets: p Y - y cancels where the fit is good. The absolute error, the bound of p times p Y, plus
2**-91 p Y for Y (a tree of depth 40) and 2**-100 (p Y + y) for products and sums, is carried in the radius. At a
maximal logit whose element that leaves open, p Y - y = R - (T/S) Y, where R is the sum of the other targets: for a
saturated row T/S is tiny and R often exact, so that ``sharp`` decides; where R = 0 the product is relatively accurate. A
row of equal logits and targets has the gradient 0. What is left to tier 3 are rational values on midpoints: equal
logits with n a power of two, and targets to match.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.formats import FloatArray, FloatFormat, IntArray
from xent_verify.core.shapes import full
from xent_verify.truth import doubledouble as dd
from xent_verify.truth import special
from xent_verify.truth.compose import Answer, Group, Out, Rows, loaded
from xent_verify.truth.engines import Engine, Terms, terms
from xent_verify.truth.loose import FAR, Loose
from xent_verify.truth.pieces import Piece, bounded, in_binades, normalised, undecided
from xent_verify.truth.rows import LossRows
from xent_verify.truth.sharp import exact_plus_small

__all__ = ["Gradients", "suitable"]


def suitable(loss: LossRows) -> bool:
    """Whether the targets are such that the bounds of this module hold (else tier 3 answers)."""
    y = loss.probabilities
    if y is None:
        return True
    total = y.sum(axis=1)
    return bool(((y >= 0) & (y <= 2.0**10)).all() and ((total == 0) | (total >= 2.0**-500)).all())


@dataclass(frozen=True, slots=True)
class Gradients:
    """The gradient of each row's loss, as a problem of one answer per logit."""

    loss: LossRows

    @property
    def rows(self) -> int:
        return int(self.loss.logits.shape[0])

    @property
    def n(self) -> int:
        return self.loss.classes

    @property
    def width(self) -> int:
        return self.n

    @property
    def single(self) -> bool:
        return False

    def loose(self, engine: Engine, /) -> Loose | None:
        return None if self.loss.labels is None else engine.like

    def answer(self, engine: Engine, rows: Rows, fmt: FloatFormat, out: Out = None, /) -> Answer:
        loss = self.loss.take(rows)
        group = loaded(loss.logits)
        values, decided = None, None
        if group.holes is not None or loss.ignored.any():
            values, decided = special.gradient_values(loss)
        t = terms(engine, group.x, group.holes, out=out)
        parts: list[tuple[slice, Loose | Piece, NDArray[np.bool_]]] = []
        patches = []
        for columns, part in zip(t.columns, t.parts, strict=True):
            loose = engine.softmax(part, t.row)
            loose = loose if t.axis else loose.transposed
            if loss.labels is not None:
                where, patch = _less_one_hot(loose, columns, t, group, loss)
                mask = loose.suspects(fmt)
                if loose.suspected is not None:
                    mask[where] = loose[where].suspects(fmt)
                if patch[0].size:
                    mask[patch[0], patch[1] - columns.start] = False
                    patches.append(patch)
                parts.append((columns, loose, mask))
                continue
            piece = _less_target(loose.piece(), columns, loss, engine)
            mask = undecided(piece, fmt)
            if mask.any():
                piece, mask = _at_maximum(piece, mask, columns, t, group, loss, fmt)
                piece, mask = _level(piece, mask, group, loss)
            parts.append((columns, piece, mask))
        return Answer(tuple(parts), values, decided, patches)


def _less_one_hot(
    p: Loose, columns: slice, t: Terms, group: Group, loss: LossRows
) -> tuple[tuple[IntArray, IntArray], tuple[IntArray, IntArray, Piece]]:
    """Make p - 1 of the targets that lie in these columns: their places, and patches for what vanishes."""
    labels = np.asarray(loss.labels)
    here = np.nonzero((labels >= columns.start) & (labels < columns.stop))[0]
    places = labels[here]
    where = here, places - columns.start
    top = group.x[here, places] == t.row.m.reshape(-1)[here]
    rest = t.engine.others(t.row)
    rest = (rest if t.axis else rest.transposed)[here, np.zeros_like(here)]
    if p.low is None or rest.low is None:
        p.high[where] = np.where(top, -rest.high, p.high[where] - 1.0)
        return where, (here[:0], here[:0], rest[:0].piece())
    assert isinstance(p.exponent, np.ndarray)
    high, low = _minus_one(p.high[where], p.low[where], p.exponent[where])
    p.high[where], p.low[where] = np.where(top, -rest.high, high), np.where(top, -rest.low, low)
    p.exponent[where] = np.where(top, rest.exponent, 0)
    gone = top & (np.asarray(rest.exponent) == FAR)
    return where, (here[gone], places[gone], rest[gone].piece().negated)


def _minus_one(high: FloatArray, low: FloatArray, exponent: IntArray) -> dd.Pair:
    """p - 1 for 0 < p <= 1/2, under the radius that p has where it matters (a vanished p errs by less)."""
    scale = np.ldexp(1.0, np.maximum(exponent, -1000).astype(np.int32))
    s, e = dd.two_sum(high * scale, np.full(high.shape, -1.0))
    return dd.fast_two_sum(s, e + low * scale)


def _less_target(piece: Piece, columns: slice, loss: LossRows, engine: Engine) -> Piece:
    """p Y - y."""
    y = np.asarray(loss.probabilities)
    total = dd.tree_sum(y, None, axis=1)
    y = np.ascontiguousarray(y[:, columns])
    share = dd.multiply((piece.hi, full(piece.lo, piece.hi.shape)), total)
    error = np.abs(share[0]) * 2.0**-91 + piece.full_radius * (total[0] * 1.0001)
    alone = normalised(share[0], share[1], piece.exponent, 0.0, engine.tier)
    alone = replace(alone, radius=in_binades(error, piece.exponent, alone))
    shift = np.maximum(piece.exponent, -1000).astype(np.int32)
    high, low = dd.add((np.ldexp(share[0], shift), np.ldexp(share[1], shift)), (-y, np.zeros_like(y)))
    error = np.ldexp(error, shift) + 2.0**-100 * (np.ldexp(share[0], shift) + y) + 2.0**-980
    return _where(y == 0, alone, bounded(high, low, 0, error, engine.tier))


def _where(mask: FloatArray, first: Piece, second: Piece) -> Piece:
    return Piece(
        np.where(mask, first.hi, second.hi),
        np.where(mask, first.exponent, second.exponent),
        np.where(mask, first.lo, second.lo),
        np.where(mask, first.full_radius, second.full_radius),
        first.tier,
    )


def _at_maximum(
    piece: Piece, mask: NDArray[np.bool_], columns: slice, t: Terms, group: Group, loss: LossRows, fmt: FloatFormat
) -> tuple[Piece, NDArray[np.bool_]]:
    """Undecided elements at maximal logits once more, as R - (T/S) Y (see the module docstring)."""
    rows, places = np.nonzero(mask & (group.x[:, columns] == np.reshape(t.row.m, (-1, 1))))
    if not rows.size:
        return piece, mask
    y = np.array(np.asarray(loss.probabilities)[rows])
    own = np.take_along_axis(y, (places + columns.start)[:, None], axis=1)
    np.put_along_axis(y, (places + columns.start)[:, None], 0.0, axis=1)
    rest = dd.tree_sum(y, None, axis=1)
    total = dd.add(rest, (own, np.zeros_like(own)))
    share = t.engine.others(t.row).piece()
    share = (share[:, 0] if t.axis else share[0])[rows].times(total[0][:, 0], total[1][:, 0])
    better = _difference((rest[0][:, 0], rest[1][:, 0]), _exact_sum(y, rest[0]), share)
    mask = mask.copy()
    mask[rows, places] = undecided(better, fmt)
    return piece.patched((rows, places), better), mask


def _level(piece: Piece, mask: NDArray[np.bool_], group: Group, loss: LossRows) -> tuple[Piece, NDArray[np.bool_]]:
    """Rows of equal logits and equal targets, n y / n - y = 0: no interval would decide that."""
    x, y = group.x, np.asarray(loss.probabilities)
    level = (x == x[:, :1]).all(axis=1, keepdims=True) & (y == y[:, :1]).all(axis=1, keepdims=True) & mask
    if group.holes is not None:
        level &= ~group.holes.any(axis=1, keepdims=True)
    if not level.any():
        return piece, mask
    zeros = np.zeros(np.count_nonzero(level))
    return piece.patched(level, Piece(zeros, zeros.astype(np.int64), 0.0, 0.0, piece.tier)), mask & ~level


def _exact_sum(y: FloatArray, total: FloatArray) -> NDArray[np.bool_]:
    """Rows of y whose tree sum is exact: all multiples of some g, with a sum below 2**100 g.

    High words are summed without error; low words are multiples of g below 2**-52 of the sum (times the depth): they
    fit in 53 bits. g = 2**-53 of the smallest non-zero y's binade always divides; trailing zeros make it larger.
    """
    smallest = np.where(y > 0, y, np.inf).min(axis=1)
    return np.asarray(total[:, 0] < smallest * 2.0**47)


def _difference(rest: dd.Pair, exact: NDArray[np.bool_], share: Piece) -> Piece:
    """rest - share for ``rest`` >= 0 known to 2**-91 of itself, or exactly, and a positive share of any size."""
    scale = np.maximum(share.exponent, -1000).astype(np.int32)
    q = np.ldexp(share.hi, scale), np.ldexp(share.lo, scale)
    high, low = dd.add(rest, (-q[0], -q[1]))
    error = np.ldexp(np.asarray(share.full_radius), scale) + 2.0**-91 * (rest[0] + q[0]) + 2.0**-980
    alone = share.hi == 0  # one finite logit: T/S = 0, and the gradient is R itself
    error = np.where(exact & alone & (rest[0] >= 2.0**-900), 0.0, error)
    piece = _where(rest[0] == 0, share.negated, bounded(high, low, 0, error, share.tier))
    fit = exact & ~alone & (rest[0] > q[0] * 2.0**25)
    if fit.any():
        relative = np.max(full(share.radius, q[0].shape)[fit])
        better = exact_plus_small((rest[0][fit], rest[1][fit]), -q[0][fit], float(relative), share.tier)
        piece = piece.patched(fit, better)
    return piece
