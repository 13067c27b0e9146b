"""Cross entropy from the engines' log S: per row, then reduced.

With D_c = m - x_c >= 0 (exact) and Lambda = log S, a row's loss is sum_c a_c (Lambda + D_c), where a_c = w_c t_c and
t is the target distribution, smoothed: t_c = (1 - e) y_c + e / C. Here w, y >= 0 (anything else goes to tier 3), so
nothing cancels and relative errors only add up:

* one class (labels, e = 0): -w_y log p_y;
* else: A Lambda + M, M = (1 - e) sum w y D + (e / C) sum w D: products of double-doubles, summed in a fixed tree.
  Relative error: log S's bound, plus 2**-94 for a tree of depth 40, plus 8 u**2 for each of at most ten products and
  sums: together below the bound + 2**-91.

Where M is a single product, of two doubles, it is known exactly, and may be a midpoint (a one-hot target as
probabilities, halves): if A Lambda is small beside it, ``sharp`` adds them. Losses whose M is a rational number on a
midpoint otherwise (label smoothing over three classes), and weights beyond the limits below, are left to tier 3.

D is taken from logits times 2**-70 where some are beyond 2**900, so that no sum overflows; where M = 0 (all mass on a
maximal logit) Lambda is taken times 2**500. ``within`` holds factors to 0 and [2**-200, 2**100] (y: 2**10), so that
coefficients of up to three factors are 0 or at least 2**-640 (C <= 2**40), and exact or relatively accurate. What
underflows is a product of such a coefficient with a tiny D, which no factor beyond 2**100 meets later: less than n 2**-950
in all, which the radius includes. Every other input goes to tier 3.

Rows are then summed at the exponent of the largest (smaller ones lose less than 2**-1000 of it), and divided by the
number of rows or by their weight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from xent_verify.core import enclosure
from xent_verify.core.enclosure import Enclosure
from xent_verify.core.formats import FloatArray, FloatFormat, IntArray
from xent_verify.core.shapes import clipped, full
from xent_verify.truth import doubledouble as dd
from xent_verify.truth import special
from xent_verify.truth.compose import Answer, Group, Out, Problem, Rows, groups, loaded
from xent_verify.truth.engines import SCALE, Engine, Terms, terms
from xent_verify.truth.pieces import Piece, normalised, suspects, undecided
from xent_verify.truth.rows import LossRows
from xent_verify.truth.sharp import exact_plus_small
from xent_verify.truth.sharpened import log_softmax

__all__ = ["Losses", "of_distribution", "reduced", "reduced_pieces", "suitable", "within"]

Mask = NDArray[np.bool_]

_EXTRA = 2.0**-91


def within(factor: FloatArray | float | None, most: float) -> bool:
    """Whether factors are 0 or from 2**-200 to ``most``, so that none of their products underflows."""
    return factor is None or bool(np.all((factor == np.float64(0)) | ((factor >= 2.0**-200) & (factor <= most))))


def suitable(loss: LossRows) -> bool:
    """Whether weights, targets and smoothing are such that the bounds of this module hold (else tier 3 answers)."""
    return within(loss.weight, 2.0**100) and within(loss.probabilities, 2.0**10) and within(loss.smoothing, 1.0)


@dataclass(frozen=True, slots=True)
class Losses:
    """The losses of single rows, as a problem of one answer a row."""

    loss: LossRows

    @property
    def rows(self) -> int:
        return int(self.loss.logits.shape[0])

    @property
    def n(self) -> int:
        return self.loss.classes

    @property
    def width(self) -> int:
        return 1

    @property
    def single(self) -> bool:
        return True

    @property
    def reduction(self) -> str:
        return self.loss.reduction

    def special(self) -> special.Decided:
        return special.loss_row_values(self.loss)

    def loose(self, _engine: Engine, /) -> None:
        return None

    def answer(self, engine: Engine, rows: Rows, fmt: FloatFormat, _out: Out = None, /) -> Answer:
        loss = self.loss.take(rows)
        group = loaded(loss.logits)
        values, decided = None, None
        if group.holes is not None or loss.ignored.any():
            values, decided = special.loss_row_values(loss)
        t = terms(engine, group.x, group.holes, keep=False)
        if loss.labels is not None and loss.smoothing == 0:
            piece, mask = _of_label(t, group, loss, fmt)
        else:
            piece = of_distribution(t, group, partial(_weighted, loss))
            mask = suspects(piece, fmt)
        return Answer(((slice(0, 1), piece, mask),), values, decided)


def _of_label(t: Terms, group: Group, loss: LossRows, fmt: FloatFormat) -> tuple[Piece, Mask]:
    """-w_y log p_y."""
    labels = np.asarray(loss.labels)
    x = np.take_along_axis(group.x, labels[:, None], axis=1)
    piece, mask = log_softmax(t, x if t.axis else x.T, fmt)
    piece, mask = (piece[:, 0], mask[:, 0]) if t.axis else (piece[0], mask[0])
    piece = piece.negated
    if loss.weight is None:
        return piece, mask
    piece = piece.times(loss.weight[labels])
    return piece, suspects(piece, fmt)


def _constant(value: float) -> dd.Pair:
    return np.full((1, 1), value), np.zeros((1, 1))


Weighed = tuple[dd.Pair, dd.Pair, Mask]
"""(A, M) and where M is exact, as columns."""


def of_distribution(t: Terms, group: Group, weigh: Callable[[dd.Pair], Weighed]) -> Piece:
    """A Lambda + M (see the module docstring), for each row; ``weigh`` gives A and M from the distances."""
    m, alone = np.reshape(t.row.m, (-1, 1)), np.reshape(t.row.alone, (-1, 1))
    shrink = np.where(np.abs(group.x).max(axis=1, keepdims=True) > 2.0**900, 2.0**-70, 1.0)
    distance = dd.two_sum(full(m * shrink, group.x.shape), group.x * -shrink)
    if group.holes is not None:
        distance = (np.where(group.holes, 0.0, distance[0]), np.where(group.holes, 0.0, distance[1]))
    mass, mean, known = weigh(distance)
    log, log_low = (np.reshape(part, (-1, 1)) for part in t.engine.log(t.row))
    small = (mean[0] == 0) & (log < 2.0 ** (SCALE - 400))
    scale = np.where(small, 1.0, 2.0**-SCALE)
    high, low = dd.add(dd.multiply(mass, (log * (scale * shrink), log_low * (scale * shrink))), mean)
    exponent = np.where(shrink < 1, 70, 0) + np.where(small, -SCALE, 0)
    loose = np.where(alone, 0.0, mass[0] * t.engine.fuzz * scale) + group.x.shape[1] * 2.0**-950
    piece = _with_error(high, low, exponent, t.engine, loose, exact=alone & (mean[0] == 0))
    extra = mass[0] * log * (2.0**-SCALE * shrink)
    near = known & ~alone & (extra < mean[0] * 2.0**-25) & (mean[0] < 2.0**900) & (mean[0] > 2.0**-900)
    near &= mean[0] * 2.0**-161 > np.maximum(mass[0], 1.0) * t.engine.fuzz * 2.0**-SCALE
    return _sharper(piece, near[:, 0], (mean[0][:, 0], mean[1][:, 0]), extra[:, 0], shrink[:, 0], t.engine)


def _sharper(piece: Piece, near: Mask, mean: dd.Pair, extra: FloatArray, shrink: FloatArray, engine: Engine) -> Piece:
    """Where M is exact and A Lambda small beside it, by ``sharp``: M may be a midpoint (one-hot targets, halves)."""
    if not near.any():
        return piece
    better = exact_plus_small((mean[0][near], mean[1][near]), extra[near], engine.relative + 2.0**-51, engine.tier)
    return piece.patched(near, replace(better, exponent=better.exponent + np.where(shrink[near] < 1, 70, 0)))


def _with_error(
    high: FloatArray, low: FloatArray, exponent: IntArray, engine: Engine, loose: FloatArray, *, exact: Mask
) -> Piece:
    """Columns (rows, 1) as a 1-D piece with relative bound of the engine plus an absolute one, ``loose``.

    Where too little is left to be a normal number, (-1, 3) times a power of two above it answers.
    """
    high, low, exponent, loose, exact = high[:, 0], low[:, 0], exponent[:, 0], loose[:, 0], exact[:, 0]
    lost = (high < 2.0**-900) & ~exact
    piece = normalised(np.where(lost, 1.0, np.where(exact, 0.0, high)), low, exponent, 0.0, engine.tier)
    radius = 2 * (engine.relative + _EXTRA) + np.ldexp(loose, clipped(exponent - piece.exponent, -2000, 1000))
    beyond = np.frexp(np.maximum(high + loose, 2.0**-900))[1]
    return replace(
        piece,
        lo=np.where(lost, 0.0, piece.lo),
        exponent=np.where(lost, beyond + exponent, piece.exponent),
        radius=np.where(lost, 2.0, np.where(exact, 0.0, radius)),
    )


def _weighted(loss: LossRows, distance: dd.Pair) -> Weighed:
    """A, M: the mass of the smoothed, weighted target and its mean distance, (rows, 1) or (1, 1) each.

    M is known exactly if it is one product of two doubles, or a distance itself.
    """
    e = loss.smoothing
    known = np.zeros((distance[0].shape[0], 1), bool)
    if e == 0 and loss.weight is None and loss.probabilities is not None:
        used = (loss.probabilities > 0) & (distance[0] > 0)
        known = np.count_nonzero(used, axis=1, keepdims=True) <= 1
        known &= ~(used & (distance[1] != 0) & (loss.probabilities != 1)).any(axis=1, keepdims=True)
    parts = []
    if e < 1:
        keep = dd.two_sum(np.ones((1, 1)), np.full((1, 1), -e))
        parts.append((keep, *(_label_sums if loss.labels is not None else _target_sums)(loss, distance)))
    if e > 0:
        share = dd.multiply(dd.reciprocal(_constant(float(loss.classes))), _constant(e))
        if loss.weight is None:
            parts.append((share, _constant(float(loss.classes)), dd.tree_sum(*distance, axis=1)))
        else:
            weight = full(loss.weight, distance[0].shape)
            parts.append((share, *_sums((weight, np.zeros_like(weight)), distance)))
    scaled = [(dd.multiply(factor, mass), dd.multiply(factor, mean)) for factor, mass, mean in parts]
    if len(scaled) == 1:
        return *scaled[0], known
    return dd.add(scaled[0][0], scaled[1][0]), dd.add(scaled[0][1], scaled[1][1]), known


def _sums(factor: dd.Pair, distance: dd.Pair) -> tuple[dd.Pair, dd.Pair]:
    return dd.tree_sum(*factor, axis=1), dd.tree_sum(*dd.multiply(factor, distance), axis=1)


def _label_sums(loss: LossRows, distance: dd.Pair) -> tuple[dd.Pair, dd.Pair]:
    labels = np.asarray(loss.labels)[:, None]
    weight = np.ones(labels.shape) if loss.weight is None else loss.weight[labels]
    factor = (weight, np.zeros_like(weight))
    high, low = (np.take_along_axis(part, labels, axis=1) for part in distance)
    return factor, dd.multiply(factor, (high, low))


def _target_sums(loss: LossRows, distance: dd.Pair) -> tuple[dd.Pair, dd.Pair]:
    y = np.asarray(loss.probabilities)
    factor = (y, np.zeros_like(y))
    if loss.weight is not None:
        factor = dd.two_product(y, full(loss.weight, y.shape))
    return _sums(factor, distance)


def reduced(loss: LossRows, fmt: FloatFormat, engines: Sequence[Engine]) -> Enclosure | None:
    """The sum or mean over all rows, as one element; None if no engine decides it."""
    kept = loss.take(~loss.ignored)
    divisor = special.loss_divisor(loss)
    if not kept.logits.size or (divisor == 0 and loss.reduction == "mean"):
        rows = np.zeros(kept.ignored.shape), np.zeros(kept.ignored.shape, bool)
        values, decided = special.combine(rows, divisor, loss.reduction)
        return enclosure.exact(values.reshape(1)) if decided.all() else None
    return reduced_pieces(Losses(kept), divisor, partial(_divisor, kept), fmt, engines)


class Summable(Problem, Protocol):
    """Rows that can be summed: what special values do to the whole is known apart."""

    @property
    def reduction(self) -> str: ...

    def special(self) -> special.Decided: ...


def reduced_pieces(
    problem: Summable,
    weight: float,
    divisor: Callable[[], tuple[dd.Pair, int]],
    fmt: FloatFormat,
    engines: Sequence[Engine],
) -> Enclosure | None:
    """Sum or mean of a problem's answers, as one element; None if no engine decides it."""
    for engine in engines:
        pieces = []
        for here in groups(problem.rows, problem.n, engine):
            answer = problem.answer(engine, here, fmt)
            if answer.values is not None and not np.isfinite(answer.values).all():
                values, _ = special.combine(problem.special(), weight, problem.reduction)
                return enclosure.exact(values.reshape(1))
            piece = answer.parts[0][1]
            assert isinstance(piece, Piece)
            pieces.append(piece if answer.decided is None else _without(piece, answer.decided))
        piece = _total(pieces, divisor if problem.reduction == "mean" else None)
        if not undecided(piece, fmt).any():
            return piece.enclosure()
    return None


def _without(piece: Piece, decided: Mask) -> Piece:
    """The piece with exact zeros where the special values are zeros."""
    zeros = np.zeros(int(decided.sum()))
    return piece.patched(decided, Piece(zeros, zeros.astype(np.int64), 0.0, 0.0, piece.tier))


def _total(pieces: Sequence[Piece], divisor: Callable[[], tuple[dd.Pair, int]] | None) -> Piece:
    """Sum or mean of non-negative rows at the exponent of the largest; radii add up, the tree adds 2**-94."""
    whole = Enclosure.concatenate([piece.enclosure() for piece in pieces])
    top = int(whole.exponent[whole.hi != 0].max(initial=-(2**40)))
    shift = clipped(whole.exponent - top, -2000, 0).astype(np.int32)
    high, low, radius = (np.ldexp(part, shift) for part in (whole.hi, whole.lo, whole.radius))
    total = dd.tree_sum(high, low, axis=0)
    error = float(radius.sum() * 1.001 + high.sum() * 2.0**-93 + high.size * 2.0**-1060 * bool(radius.any()))
    power = top
    if divisor is not None:
        weight, exponent = divisor()
        power -= exponent
        total = dd.multiply(total, dd.reciprocal(weight))
        error = error * 1.001 + float(total[0][0]) * 2.0**-93
    piece = normalised(total[0], total[1], power, 0.0, pieces[0].tier)
    spread = np.ldexp(np.full(1, error), clipped(power - piece.exponent, -2000, 1000).astype(np.int32))
    return replace(piece, radius=np.where(total[0] == 0, 0.0, spread))


def _divisor(loss: LossRows) -> tuple[dd.Pair, int]:
    """What a mean divides by, as (pair in [1, 2), exponent): the rows, or the weights of their labels."""
    if loss.labels is None or loss.weight is None:
        total = (np.full(1, float(loss.logits.shape[0])), np.zeros(1))
    else:
        total = dd.tree_sum(loss.weight[loss.labels], None, axis=0)
    power = int(np.frexp(total[0][0])[1]) - 1
    return (np.ldexp(total[0], -power), np.ldexp(total[1], -power)), power
