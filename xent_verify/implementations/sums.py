"""Relatives of logsumexp and softmax: softplus, logaddexp, logmeanexp, z-loss, softmax with a 1 in its denominator, Gumbel noise.

Arrays of any shape, same dtype out; formats below float32 are computed in float32 by all of them and rounded once.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from xent_verify.implementations import normalisers
from xent_verify.implementations.normalisers import Normalise
from xent_verify.implementations.rows import Array, named_after, row_map, row_reduction, working_dtype
from xent_verify.implementations.stable import log_sums, probabilities

__all__ = [
    "elementwise",
    "gumbel_naive",
    "gumbel_stable",
    "gumbel_two_branches",
    "gumbel_wide",
    "logaddexp_naive",
    "logaddexp_numpy",
    "logaddexp_stable",
    "logaddexp_wide",
    "logmeanexp_difference",
    "logmeanexp_naive",
    "logmeanexp_stable",
    "logmeanexp_wide",
    "softmax_one_naive",
    "softmax_one_padded",
    "softmax_one_stable",
    "softmax_one_wide",
    "softplus_logaddexp",
    "softplus_naive",
    "softplus_stable",
    "softplus_two_branches",
    "softplus_wide",
    "z_loss_chunked",
    "z_loss_naive",
    "z_loss_stable",
    "z_loss_wide",
]


def elementwise(body: Callable[..., Array]) -> Callable[..., Array]:
    """A function of arrays in the working precision as one of arrays of any format, rounded once at the end."""

    def one(x: ArrayLike) -> Array:
        return finished(np.asarray(x), x)

    def two(x: ArrayLike, y: ArrayLike) -> Array:
        return finished(np.asarray(x), x, y)

    def finished(given: Array, *arrays: ArrayLike) -> Array:
        wide = [np.asarray(array).astype(working_dtype(given.dtype)) for array in arrays]
        with np.errstate(all="ignore"):
            return np.asarray(body(*wide)).astype(given.dtype.newbyteorder("="))[()]

    return named_after(body, one if body.__code__.co_argcount == 1 else two)


@elementwise
def softplus_stable(x: Array) -> Array:
    """max(x, 0) + log1p(exp(-|x|)): no overflow, full relative accuracy on both sides."""
    return np.asarray(np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))))


@elementwise
def softplus_two_branches(x: Array) -> Array:
    """x + log1p(exp(-x)) above 0, log1p(exp(x)) below."""
    return np.where(x > 0, x + np.log1p(np.exp(-x)), np.log1p(np.exp(x)))


@elementwise
def softplus_logaddexp(x: Array) -> Array:
    """NumPy's logaddexp with 0."""
    return np.asarray(np.logaddexp(x, x.dtype.type(0)))


@elementwise
def softplus_wide(x: Array) -> Array:
    """In float64, rounded at the end."""
    return np.asarray(np.logaddexp(x.astype(np.float64), 0.0))


@elementwise
def softplus_naive(x: Array) -> Array:
    """log(1 + exp(x)): infinite beyond the overflow edge of exp, 0 where 1 + exp(x) rounds to 1."""
    return np.asarray(np.log(1 + np.exp(x)))


@elementwise
def logaddexp_stable(x: Array, y: Array) -> Array:
    """m + log1p(exp(-|x - y|)), m = max(x, y), which is the result where it is infinite."""
    top = np.maximum(x, y)
    return np.where(np.isinf(top), top, top + np.log1p(np.exp(-np.abs(x - y))))


@elementwise
def logaddexp_numpy(x: Array, y: Array) -> Array:
    """NumPy's."""
    return np.asarray(np.logaddexp(x, y))


@elementwise
def logaddexp_wide(x: Array, y: Array) -> Array:
    """NumPy's in float64, rounded at the end."""
    return np.asarray(np.logaddexp(x.astype(np.float64), y.astype(np.float64)))


@elementwise
def logaddexp_naive(x: Array, y: Array) -> Array:
    """log(exp(x) + exp(y)): ±inf beyond the edges of exp."""
    return np.asarray(np.log(np.exp(x) + np.exp(y)))


@elementwise
def gumbel_stable(u: Array) -> Array:
    """-log(-log u): the logarithm of a number near 1 is as good as any."""
    return np.asarray(-np.log(-np.log(u)))


@elementwise
def gumbel_two_branches(u: Array) -> Array:
    """log1p(u - 1) for the inner logarithm above 1/2, where the difference is exact."""
    return np.asarray(-np.log(-np.where(u > 0.5, np.log1p(u - 1), np.log(u))))


@elementwise
def gumbel_wide(u: Array) -> Array:
    """In float64, rounded at the end."""
    return np.asarray(-np.log(-np.log(u.astype(np.float64))))


@elementwise
def gumbel_naive(u: Array) -> Array:
    """-log(-log(u + 1e-20) + 1e-20): finite at 0 and 1."""
    tiny = u.dtype.type(1e-20)
    return np.asarray(-np.log(-np.log(u + tiny) + tiny))


def _log_mean(rows: Array, normalise: Normalise = normalisers.shifted) -> Array:
    reference, total, _ = normalise(rows)
    return np.asarray((reference + np.log(total / rows.shape[-1]))[:, 0])


@row_reduction
def logmeanexp_stable(rows: Array) -> Array:
    """m + log(Σ exp(x - m) / n)."""
    return _log_mean(rows)


@row_reduction
def logmeanexp_difference(rows: Array) -> Array:
    """logsumexp(x) - log n."""
    return np.asarray(log_sums(rows) - np.log(rows.dtype.type(rows.shape[-1])))


@row_reduction
def logmeanexp_wide(rows: Array) -> Array:
    """m + log(Σ exp(x - m) / n) in float64, rounded at the end."""
    return _log_mean(rows.astype(np.float64))


@row_reduction
def logmeanexp_naive(rows: Array) -> Array:
    """log(mean(exp(x))): ±inf beyond the edges of exp."""
    return np.asarray(np.log(np.exp(rows).mean(axis=-1)))


@row_reduction
def z_loss_stable(rows: Array) -> Array:
    """logsumexp(x)², the logsumexp about the maximum."""
    return np.asarray(log_sums(rows) ** 2)


@row_reduction
def z_loss_chunked(rows: Array) -> Array:
    """logsumexp(x)² from chunks of 256."""
    return np.asarray(log_sums(rows, normalisers.chunked) ** 2)


@row_reduction
def z_loss_wide(rows: Array) -> Array:
    """logsumexp(x)² in float64, rounded at the end."""
    return np.asarray(log_sums(rows.astype(np.float64)) ** 2)


@row_reduction
def z_loss_naive(rows: Array) -> Array:
    """log(Σ exp(x))²: infinite beyond the edges of exp."""
    return np.asarray(np.log(np.exp(rows).sum(axis=-1)) ** 2)


def _one_more(rows: Array) -> Array:
    """exp(x - m) / (Σ exp(x - m) + exp(-m)), m = max(max x, 0); NaN for a row with +inf or NaN."""
    peak = np.maximum(rows.max(axis=-1, keepdims=True), 0)
    terms = np.exp(rows - peak)
    return np.asarray(terms / (terms.sum(axis=-1, keepdims=True) + np.exp(-peak)))


@row_map
def softmax_one_stable(rows: Array) -> Array:
    """exp(x - m) / (Σ exp(x - m) + exp(-m)) with m = max(max x, 0); a row of -inf gives zeros."""
    return _one_more(rows)


@row_map
def softmax_one_padded(rows: Array) -> Array:
    """The softmax of the row and a 0, without its last element."""
    return probabilities(np.pad(rows, ((0, 0), (0, 1))))[:, :-1]


@row_map
def softmax_one_wide(rows: Array) -> Array:
    """In float64, rounded at the end."""
    return _one_more(rows.astype(np.float64))


@row_map
def softmax_one_naive(rows: Array) -> Array:
    """exp(x) / (1 + Σ exp(x)): inf/inf beyond the overflow edge of exp."""
    terms = np.exp(rows)
    return np.asarray(terms / (1 + terms.sum(axis=-1, keepdims=True)))
