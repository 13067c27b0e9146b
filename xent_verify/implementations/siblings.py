"""The sibling operations: sigmoid, log-sigmoid, binary cross entropy with logits, KL divergence, tempered softmax.

One naive and one stable form each. Arrays of any shape unless said otherwise, same dtype out; formats below float32 are
computed in float32 by the stable forms and in their own arithmetic by the naive ones.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from xent_verify.implementations.naive import naive_probabilities
from xent_verify.implementations.normalisers import finite_or_zero
from xent_verify.implementations.rows import Array, as_rows, from_rows, working_dtype
from xent_verify.implementations.targets import reduce_losses

__all__ = [
    "binary_cross_entropy_naive",
    "binary_cross_entropy_stable",
    "kl_divergence_naive",
    "kl_divergence_stable",
    "log_sigmoid_naive",
    "log_sigmoid_stable",
    "sigmoid_naive",
    "sigmoid_reciprocal",
    "sigmoid_stable",
    "softmax_temperature_naive",
    "softmax_temperature_stable",
]

HEADROOM = 2.0**-8  # scale at which a difference of logits and a product with a weight near 1 cannot overflow


def _widened(x: ArrayLike) -> tuple[Array, np.dtype[np.generic]]:
    given = np.asarray(x)
    return given.astype(working_dtype(given.dtype)), given.dtype


def _rescued(compute: Callable[[float], Array]) -> Array:
    """compute(1), and where that is not finite compute(2^-8)·2^8: a part may leave the range, the whole need not."""
    plain = np.asarray(compute(1.0))
    if np.isfinite(plain).all():
        return plain
    return np.where(np.isfinite(plain), plain, np.asarray(compute(HEADROOM)) / plain.dtype.type(HEADROOM))


def sigmoid_naive(x: ArrayLike) -> Array:
    """exp(x) / (1 + exp(x)). inf/inf = NaN above the overflow edge of exp."""
    given = np.asarray(x)
    with np.errstate(all="ignore"):
        raised = np.exp(given)
        return np.asarray(raised / (raised.dtype.type(1) + raised)).astype(given.dtype)[()]


def sigmoid_reciprocal(x: ArrayLike) -> Array:
    """1 / (1 + exp(-x)). exp(-x) overflows for x below the edge, so results that are still representable come out 0."""
    given = np.asarray(x)
    with np.errstate(all="ignore"):
        one = given.dtype.type(1)
        return np.asarray(one / (one + np.exp(-given))).astype(given.dtype)[()]


def sigmoid_stable(x: ArrayLike) -> Array:
    """1/(1 + e) for x >= 0 and e/(1 + e) below, with e = exp(-|x|) <= 1: no overflow, full relative accuracy."""
    wide, dtype = _widened(x)
    with np.errstate(all="ignore"):
        decayed = np.exp(-np.abs(wide))
        return np.asarray(np.where(wide >= 0, 1, decayed) / (1 + decayed)).astype(dtype)[()]


def log_sigmoid_naive(x: ArrayLike) -> Array:
    """log(1 / (1 + exp(-x))). -inf below the edge of exp (true value x); 0 where 1 + exp(-x) rounds to 1."""
    with np.errstate(all="ignore"):
        return np.asarray(np.log(sigmoid_reciprocal(x))).astype(np.asarray(x).dtype)[()]


def _log_sigmoid(wide: Array) -> Array:
    return np.asarray(np.minimum(wide, 0) - np.log1p(np.exp(-np.abs(wide))))


def log_sigmoid_stable(x: ArrayLike) -> Array:
    """min(x, 0) - log1p(exp(-|x|)): no overflow, full relative accuracy on both sides."""
    wide, dtype = _widened(x)
    with np.errstate(all="ignore"):
        return _log_sigmoid(wide).astype(dtype)[()]


def binary_cross_entropy_naive(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    reduction: str = "mean",
) -> Array:
    """-(w·y·log p + (1 - y)·log(1 - p)) with p = 1/(1 + exp(-x)) computed first.

    1 - p is 0 from about x = 17 in float32, so log(1 - p) = -inf for a loss of 17; 0·(-inf) gives NaN for y = 1.
    """
    given = np.asarray(logits)
    with np.errstate(all="ignore"):
        p = np.asarray(sigmoid_reciprocal(given))
        y = np.asarray(target).astype(p.dtype)
        positive = y if pos_weight is None else y * np.asarray(pos_weight).astype(p.dtype)
        one = p.dtype.type(1)
        losses = -(positive * np.log(p) + (one - y) * np.log(one - p))
        losses = losses if weight is None else losses * np.asarray(weight).astype(p.dtype)
        return reduce_losses(losses, np.ones(losses.shape, p.dtype), reduction).astype(given.dtype)[()]


def binary_cross_entropy_stable(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    reduction: str = "mean",
) -> Array:
    """w·(pw·y·softplus(-x) + (1 - y)·softplus(x)), softplus(x) = max(x, 0) + log1p(exp(-|x|)).

    logits and target of one shape; ``weight`` and ``pos_weight`` broadcast against it. Both terms are non-negative for
    y in [0, 1], so nothing cancels; a zero coefficient contributes 0 also at x = ±inf. NaN in x comes out.
    """
    wide, dtype = _widened(logits)
    y = np.asarray(target).astype(wide.dtype)
    outer = wide.dtype.type(1) if weight is None else np.asarray(weight).astype(wide.dtype)
    lift = wide.dtype.type(1) if pos_weight is None else np.asarray(pos_weight).astype(wide.dtype)
    masses = np.ones(np.broadcast_shapes(wide.shape, np.shape(outer), np.shape(lift)), wide.dtype)

    def loss(scale: float) -> Array:
        hit, miss = (y * lift) * outer, (1 - y) * outer
        down = wide.dtype.type(scale / (1.0 if scale == 1 else masses.size or 1))
        losses = _weighted(hit, -_log_sigmoid(wide), down) + _weighted(miss, -_log_sigmoid(-wide), down)
        total = reduce_losses(losses, masses, reduction)
        return total if scale == 1 else total * (masses.size or 1)

    with np.errstate(all="ignore"):
        return _rescued(loss).astype(dtype)[()]


def _weighted(coefficient: Array, value: Array, down: np.generic) -> Array:
    """coefficient·value·down, and 0 for a zero coefficient unless the value is NaN."""
    return np.where((coefficient == 0) & ~np.isnan(value), 0, coefficient * (value * down))


def kl_divergence_naive(logits_p: ArrayLike, logits_q: ArrayLike, axis: int = -1) -> Array:
    """Σ p·log(p / q) on computed, unshifted softmaxes.

    NaN above the overflow edge of exp; where q underflows p/0 is inf; where p does, 0·log 0 is NaN.
    """
    given = np.asarray(logits_p)
    with np.errstate(all="ignore"):
        p = naive_probabilities(np.moveaxis(given, axis, -1))
        q = naive_probabilities(np.moveaxis(np.asarray(logits_q), axis, -1))
        return np.asarray((p * np.log(p / q)).sum(axis=-1)).astype(given.dtype)[()]


def kl_divergence_stable(logits_p: ArrayLike, logits_q: ArrayLike, axis: int = -1) -> Array:
    """Σ p·(log p - log q) with both logarithms from shifted log-softmax; the axis is removed.

    p = 0 contributes 0, whatever q. Where p has underflowed but the difference of the logarithms is huge, the product
    is formed as exp(log p + log |difference|).
    """
    given = np.asarray(logits_p)
    p_rows, q_rows = as_rows(given, axis), as_rows(np.asarray(logits_q), axis, working_dtype(given.dtype))
    shape = np.moveaxis(given, axis, -1).shape[:-1]
    if given.size == 0:
        return np.zeros(shape, given.dtype)[()]
    with np.errstate(all="ignore"):
        result = _rescued(lambda scale: _divergence(p_rows, q_rows, p_rows.dtype.type(scale)))
        return result.reshape(shape).astype(given.dtype)[()]


def _log_softmax_scaled(rows: Array, down: np.generic) -> Array:
    """down·log p; ``down`` is a power of two that keeps differences of logits in range. NaN where p is not defined."""
    peak = rows.max(axis=-1, keepdims=True)
    log_total = np.log(np.exp(rows - peak).sum(axis=-1, keepdims=True))
    return np.asarray((rows * down - peak * down) - log_total * down)


def _divergence(p_rows: Array, q_rows: Array, down: np.generic) -> Array:
    log_p = _log_softmax_scaled(p_rows, p_rows.dtype.type(1))
    gap = _log_softmax_scaled(p_rows, down) - _log_softmax_scaled(q_rows, down)
    p = np.exp(log_p)
    small = p < np.finfo(p.dtype).tiny
    products = np.where(small, np.sign(gap) * np.exp(log_p + np.log(np.abs(gap))), p * gap)
    q_defined = ~np.isnan(q_rows).any(axis=-1, keepdims=True)
    return np.asarray(np.where(np.isneginf(log_p) & q_defined, 0, products).sum(axis=-1))


def softmax_temperature_naive(x: ArrayLike, temperature: float = 1.0, axis: int = -1) -> Array:
    """exp(x/T) / Σ exp(x/T). A small T multiplies the logits, so exp overflows at x = 88.72·T in float32."""
    given = np.asarray(x)
    with np.errstate(all="ignore"):
        cooled = (np.moveaxis(given, axis, -1) / given.dtype.type(temperature)).astype(given.dtype)
        return np.ascontiguousarray(np.moveaxis(naive_probabilities(cooled), -1, axis)).astype(given.dtype)


def softmax_temperature_stable(x: ArrayLike, temperature: float = 1.0, axis: int = -1) -> Array:
    """exp((x - m)/T) / Σ exp((x - m)/T), m the maximum, or for T < 0 the minimum.

    The difference is taken before the division: x/T rounds at the size of x, which a common offset would make visible.
    Where x - m overflows it is taken on quarters: a large T may bring it back into range.
    """
    given = np.asarray(x)
    if given.size == 0:
        return np.empty(given.shape, given.dtype)
    with np.errstate(all="ignore"):
        rows = as_rows(given, axis)
        t = rows.dtype.type(temperature)
        peak = (rows.max if t > 0 else rows.min)(axis=-1, keepdims=True)
        gap = rows - peak
        cooled = np.where(np.isinf(gap), (rows / 4 - peak / 4) / (t / 4), gap / t)
        terms = np.exp(cooled - finite_or_zero(cooled.max(axis=-1, keepdims=True)))
        return from_rows(terms / terms.sum(axis=-1, keepdims=True), given, axis)
