"""Algorithms for the double-double reading alone: the same values as the page's first one, by terms that cancel less."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from xent_verify.ops import Op
from xent_verify.ops.forms import LN_2
from xent_verify.truth.balls import Ball, Balls

__all__ = ["fast_algorithm"]

_ENOUGH = 2.0**-50
"""Relative radius with which a value needs no second algorithm."""


def fast_algorithm(op: Op) -> Callable[..., Any]:
    """What the double-double reading takes for an operation: the page's first algorithm, or what is closer to its values.

    Rows that the closer one leaves open have the narrower of both.
    """
    usual = next(iter(op.algorithms.values()))
    closer = _CLOSER.get(op.name)
    if closer is None:
        return usual

    def run(a: Balls, **rows: Ball) -> Ball:
        found: Ball = closer(a, **rows)
        left = np.flatnonzero(~(found.r <= np.abs(found.v) * _ENOUGH))
        if not left.size:
            return found
        other = usual(a, **{name: Ball(a, *(part[left] for part in ball.parts)) for name, ball in rows.items()})
        fields = found.parts
        better = np.flatnonzero(~(other.r >= fields[2][left]))
        for field, new in zip(fields, other.parts, strict=True):
            field[left[better]] = new[better]
        return Ball(a, *fields)

    return run


def _js_divergence(a: Balls, p_logits: Ball, q_logits: Ball) -> Ball:
    """1/2 sum p (r e / 2 - (2 + e) g), r = log q - log p, e = exp(r) - 1, g = log cosh(r / 2): terms of the size of r**2.

    g = log(1 + s**2 / 2), s = 2 sinh(r / 4). Where |r| > 1, of the larger one of p and q and the smaller, and l =
    log(1 + exp(-|r|)): larger (log 2 - l) - smaller (|r| + l - log 2), of which a fifth at least remains.
    """
    p, q = a.softmax(p_logits), a.softmax(q_logits)
    r = _log_ratio(a, p_logits, q_logits, p)
    e, quarter = a.expm1(r), a.expm1(r * 0.25)
    s = quarter + quarter / (1 + quarter)
    near = p * (e * r * 0.5 - (2 + e) * a.log1p(s * s * 0.5))
    size, rises = a.abs(r), r.v > 0
    if (size.v > 1).any():
        log = a.log1p(a.exp(-size)) - a.constant(LN_2)
        far = -(a.where(rises, q, p) * log) - a.weigh(a.where(rises, p, q), size + log)
        near = a.where(size.v > 1, far, near)
    found: Ball = a.sum(near) * 0.5
    return found


def _log_ratio(a: Balls, x: Ball, y: Ball, p: Ball) -> Ball:
    """log q - log p; 0 where both are 0.

    With t = (y - x) - (y_k - x_k) for the largest x_k it is t - log(1 + sum p (exp(t) - 1)), narrower where y is close to x
    but for a constant.
    """
    direct = a.log_softmax(y) - a.log_softmax(x)
    k = x.v.argmax(axis=-1)[..., None]
    change = y - x
    t = change - a.take(change, k)
    close = t - _log1p(a, a.sum(p * a.expm1(t)))
    neither = np.isneginf(x.v) & np.isneginf(y.v)
    return a.where(neither, 0, a.where(close.r < direct.r, close, direct))


def _log1p(a: Balls, x: Ball) -> Ball:
    """log(1 + x) to the digits of x, of both signs."""
    negative = x.v < 0
    log = a.log1p(a.where(negative, -x / (1 + x), x))
    return a.where(negative, -log, log)


_CLOSER: Mapping[str, Callable[..., Ball]] = {"js_divergence": _js_divergence}
