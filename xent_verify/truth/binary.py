"""sigmoid, log-sigmoid and binary cross entropy: the two-class forms, as rows [x, 0].

sigmoid(x) is the first element of softmax([x, 0]), and log-sigmoid that of log-softmax. The binary cross entropy
-w (c y log s(x) + (1 - y) log s(-x)) is the loss of the row [x, 0] with a_0 = w c y and a_1 = w (1 - y), where 1 - y
is exact as a pair; see ``losses`` for its bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.formats import FloatArray, FloatFormat
from xent_verify.truth import doubledouble as dd
from xent_verify.truth import special
from xent_verify.truth.compose import Answer, Group, Out, Rows
from xent_verify.truth.engines import Engine, Terms, terms
from xent_verify.truth.losses import Weighed, of_distribution, within
from xent_verify.truth.pieces import suspects
from xent_verify.truth.sharpened import log_softmax

__all__ = ["BinaryLosses", "Sigmoids"]


def _with_zero(x: FloatArray) -> FloatArray:
    """Rows [x, 0]; a logit that is not finite is 0 too."""
    return np.stack((np.where(np.isfinite(x), x, 0.0), np.zeros_like(x)), axis=1)


def _terms(engine: Engine, x: FloatArray) -> tuple[Terms, Group]:
    group = Group(_with_zero(x), None)
    return terms(engine, group.x, None), group


@dataclass(frozen=True, slots=True)
class Sigmoids:
    """sigmoid (or its log) of a 1-D array, each element a row."""

    x: NDArray[np.float64]
    log: bool

    @property
    def rows(self) -> int:
        return self.x.size

    @property
    def n(self) -> int:
        return 2

    @property
    def width(self) -> int:
        return 1

    @property
    def single(self) -> bool:
        return True

    def loose(self, _engine: Engine, /) -> None:
        return None

    def answer(self, engine: Engine, rows: Rows, fmt: FloatFormat, _out: Out = None, /) -> Answer:
        x = self.x[rows]
        t, _ = _terms(engine, x)
        if self.log:
            first = t.parts[0].x
            piece, mask = log_softmax(t, first[:, :1] if t.axis else first[:1], fmt)
        else:
            piece = engine.softmax(t.parts[0], t.row).piece()
            mask = suspects(piece, fmt)
        finite = np.isfinite(x)
        part = (slice(0, 1), *((piece[:, 0], mask[:, 0]) if t.axis else (piece[0], mask[0])))
        if finite.all():
            return Answer((part,))
        low, high = (-np.inf, 0.0) if self.log else (0.0, 1.0)
        values = np.where(np.isnan(x), np.nan, np.where(x > 0, high, low))
        return Answer((part,), np.where(finite, 0.0, values), ~finite)


@dataclass(frozen=True, slots=True)
class BinaryLosses:
    """Binary cross entropies of 1-D arrays (logits, targets, weights, positive weights), each element a row."""

    x: FloatArray
    y: FloatArray
    weight: FloatArray
    pos_weight: FloatArray
    reduction: str

    @property
    def rows(self) -> int:
        return self.x.size

    @property
    def n(self) -> int:
        return 2

    @property
    def width(self) -> int:
        return 1

    @property
    def single(self) -> bool:
        return True

    @property
    def suitable(self) -> bool:
        """Whether targets and weights are such that no term is negative and the bounds of ``losses`` hold."""
        return within(self.y, 1.0) and within(self.weight, 2.0**50) and within(self.pos_weight, 2.0**50)

    def special(self) -> special.Decided:
        return special.binary_values(self.x, self.y, self.weight, self.pos_weight)

    def loose(self, _engine: Engine, /) -> None:
        return None

    def answer(self, engine: Engine, rows: Rows, fmt: FloatFormat, _out: Out = None, /) -> Answer:
        x, y, weight, pos_weight = (part[rows] for part in (self.x, self.y, self.weight, self.pos_weight))
        t, group = _terms(engine, x)
        piece = of_distribution(t, group, partial(_weighted, y, weight, pos_weight))
        part = (slice(0, 1), piece, suspects(piece, fmt))
        if np.isfinite(x).all():
            return Answer((part,))
        return Answer((part,), *special.binary_values(x, y, weight, pos_weight))


def _weighted(y: FloatArray, weight: FloatArray, pos_weight: FloatArray, distance: dd.Pair) -> Weighed:
    """(a_0 + a_1, a_0 D_0 + a_1 D_1) as columns; one D is 0, so that the sum is exact if the other product is."""
    zero = np.zeros_like(y)
    rest = dd.two_sum(-y, np.ones_like(y))
    first = dd.multiply(dd.two_product(y, pos_weight), (weight, zero))
    second = dd.multiply(rest, (weight, zero))
    mean = dd.add(
        dd.multiply(first, (distance[0][:, 0], distance[1][:, 0])),
        dd.multiply(second, (distance[0][:, 1], distance[1][:, 1])),
    )
    known = (weight == 1) & (pos_weight == 1) & (distance[1] == 0).all(axis=1)
    known &= (rest[1] == 0) | (distance[0][:, 1] == 0)
    mass = dd.add(first, second)
    return (mass[0][:, None], mass[1][:, None]), (mean[0][:, None], mean[1][:, None]), known[:, None]
