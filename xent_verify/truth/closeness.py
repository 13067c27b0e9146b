"""Kullback-Leibler divergences of close distributions: a sum of positive terms instead of a difference.

With t_j = (z_j - x_j) - c for any number c, and phi(t) = e**t - 1 - t >= 0::

    KL(p || q) = log sum p e**(z - x) - sum p (z - x) = log(1 + A + B) - B,    A = sum p phi(t),  B = sum p t

c is (nearly) the mean of z - x under p, so that B is next to nothing and A is the divergence to first order: nothing
cancels. Where p has no mass and q has, at the classes H, there is one more term >= 0 beside A: E = sum_H exp(z - x_k - c) p_k,
x_k the largest logit of p. The error is the sum of these, first order with a factor 1.01:

* p_j is off by its bound e_j: A by e_j phi(t_j); B, which counts only by w/(1 + w), w = A + B, by e_j |t_j| w;
* z - x is exact, t_j is off by 2**-103 (|z_j - x_j| + |c|) = d_j: dKL/dt_j = q_j - p_j, so p_j (|e**t_j - 1| + w e**t_j) d_j;
* E by its exponentials and p_k: 2**-86 E, e_k E / p_k, and 2**-103 (|z - x_k| + |c|) E; terms below e**-LIMIT are left out;
* phi to 2**-88 of itself, products and trees: 2**-87 A; log(1 + w) and the last sum: 2**-90 (w + |B|).

phi: for |t| <= 1, r = t / 1024, phi(r) = r**2 (1/2 + r/6 + r**2/24 + ...) in double-double as ``doubledouble`` has it
(2**-93), then ten times phi(2 r) = 2 phi(r) + (phi(r) + r)**2, whose terms are positive: 2**-99 each, and no error is
magnified (that of phi(r) + r, at most twice). For |t| > 1, e**t - 1 - t >= 0.36: the exponential's 2**-89 and the
subtraction's weigh at most three times as much.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.formats import FloatArray
from xent_verify.truth import doubledouble as dd

__all__ = ["LIMIT", "Outside", "closeness"]

LIMIT = 600.0
"""Largest |t|: e**t stays far inside the range."""

_HALVINGS = 10
_TINY = 2.0**-60


def _constant(value: float, like: FloatArray) -> dd.Pair:
    return np.full_like(like, value), np.zeros_like(like)


def _excess(t: dd.Pair) -> dd.Pair:
    """phi(t), |t| <= LIMIT (see the module docstring)."""
    near = np.abs(t[0]) <= 1.0
    r = np.where(near, t[0], 0.0) * 2.0**-_HALVINGS, np.where(near, t[1], 0.0) * 2.0**-_HALVINGS
    value = dd.square_times_series(r)
    for _ in range(_HALVINGS):
        root = dd.add(value, r)
        value = dd.add((2 * value[0], 2 * value[1]), dd.multiply(root, root))
        r = 2 * r[0], 2 * r[1]
    far = np.where(near, 0.0, t[0]), np.where(near, 0.0, t[1])
    high, low, power = dd.exp(*far, full=True)
    scale = np.ldexp(1.0, power.astype(np.int32))
    other = dd.add((high * scale, low * scale), dd.add(_constant(-1.0, high), (-far[0], -far[1])))
    return np.where(near, value[0], other[0]), np.where(near, value[1], other[1])


@dataclass(frozen=True, slots=True)
class Outside:
    """Classes of q that p does not have: where they are, z - x_k there, and p_k with its error as columns."""

    mask: NDArray[np.bool_]
    distance: dd.Pair
    top: dd.Pair
    error: FloatArray

    def mass(self, c: dd.Pair) -> tuple[dd.Pair, FloatArray, NDArray[np.bool_]]:
        """(E, its absolute error, rows fit for this) as columns."""
        d = dd.add(self.distance, (-c[0], -c[1]))
        fit = np.asarray((~self.mask | (d[0] <= LIMIT)).all(axis=1, keepdims=True))
        here = self.mask & (np.abs(d[0]) <= LIMIT)
        high, low, power = dd.exp(np.where(here, d[0], 0.0), np.where(here, d[1], 0.0), full=True)
        scale = np.where(here, np.ldexp(1.0, power.astype(np.int32)), 0.0)
        terms = dd.multiply((high * scale, low * scale), self.top)
        size = np.where(here, np.abs(self.distance[0]) + np.abs(c[0]), 0.0)
        off = terms[0] * (2.0**-86 + self.error / self.top[0] + 2.0**-103 * size)
        left_out = np.count_nonzero(self.mask & ~here, axis=1, keepdims=True) * 2.0**-860
        return dd.tree_sum(*terms, axis=1), off.sum(axis=1, keepdims=True) * 1.01 + left_out, fit


def closeness(
    p: dd.Pair, error: FloatArray, change: dd.Pair, outside: Outside | None = None
) -> tuple[dd.Pair, FloatArray, NDArray[np.bool_]]:
    """(KL, its absolute error, rows fit for this) as columns, from p, its error, and z - x (not finite: not fit)."""
    c = dd.tree_sum(*dd.multiply(p, change), axis=1)
    t = dd.add(change, (-c[0], -c[1]))
    fit = (np.abs(t[0]) <= LIMIT).all(axis=1, keepdims=True)
    t = np.where(fit, t[0], 0.0), np.where(fit, t[1], 0.0)
    excess = _excess(t)
    a = dd.tree_sum(*dd.multiply(p, excess), axis=1)
    b = dd.tree_sum(*dd.multiply(p, t), axis=1)
    beside = np.zeros_like(a[0])
    if outside is not None:
        mass, beside, known = outside.mass(c)
        a, fit = dd.add(a, mass), fit & known
    w = dd.add(a, b)
    tiny = w[0] < _TINY
    log = dd.log1p((np.where(tiny, 1.0, w[0]), np.where(tiny, 0.0, w[1])))
    square = dd.multiply(w, w)
    small = dd.add(a, (square[0] * -0.5 + square[0] * w[0] / 3, square[1] * -0.5))
    large = dd.add(log, (-b[0], -b[1]))
    value = np.where(tiny, small[0], large[0]), np.where(tiny, small[1], large[1])
    growth = np.abs(excess[0] + t[0])  # |e**t - 1|
    weight = np.abs(w[0])
    off = error * (excess[0] + np.abs(t[0]) * weight)
    off += p[0] * (growth + weight * (1.0 + growth)) * (2.0**-103 * (np.abs(change[0]) + np.abs(c[0])))
    off = np.where(fit, off, 0.0)
    slack = (off.sum(axis=1, keepdims=True) + 2 * beside) * 1.01 + 2.0**-87 * a[0] + 2.0**-90 * (weight + np.abs(b[0]))
    return value, slack + 2.0**-980, fit & (w[0] > -0.5)
