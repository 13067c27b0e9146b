"""The forms that textbooks print and that fail: each docstring says where, and why.

Unless a docstring says otherwise they compute in the input's own format, as the formula is usually typed, so the
range in which ``exp`` stays finite is that of the format: up to 88.72 in float32 and bfloat16, 11.09 in float16,
709.78 in float64.
"""

from __future__ import annotations

import numpy as np

from xent_verify.implementations import normalisers
from xent_verify.implementations.rows import Array, row_map, row_reduction, typed_row_map, typed_row_reduction
from xent_verify.implementations.stable import log_sums, probabilities
from xent_verify.implementations.targets import Task, as_cross_entropy, coefficients, reduce_losses

__all__ = [
    "cross_entropy_lse_minus_logit",
    "cross_entropy_naive",
    "cross_entropy_naive_index",
    "cross_entropy_naive_onehot",
    "log_softmax_log_of_softmax",
    "log_softmax_naive",
    "log_softmax_unshifted_lse",
    "logsumexp_logaddexp",
    "logsumexp_naive",
    "naive_probabilities",
    "softmax_division_free",
    "softmax_naive",
]


def naive_probabilities(rows: Array) -> Array:
    """exp(x) / Σ exp(x) of each row, in the dtype of ``rows``."""
    terms = np.exp(rows)
    return np.asarray(terms / terms.sum(axis=-1, keepdims=True))


@typed_row_map
def softmax_naive(rows: Array, dtype: np.dtype[np.generic]) -> Array:
    """exp(x) / Σ exp(x); any shape, along ``axis``, same dtype out.

    Fails above the overflow edge of exp: one term is inf and inf/inf is NaN (below the edge the *sum* may overflow,
    which turns all probabilities to 0). Fails when all logits are below the underflow edge: 0/0. In bfloat16 the sum
    itself stalls: a running total of ones stops at 256.
    """
    return naive_probabilities(rows.astype(dtype))


@row_map
def softmax_division_free(rows: Array) -> Array:
    """exp(x - logsumexp(x)), no division.

    Never overflows, but x - logsumexp(x) cancels: at a common offset c the difference carries an absolute error of
    about |c|·u, and every probability a relative one of that size: 4.5e4 u at c = 1e5 in float32.
    """
    return np.asarray(np.exp(rows - log_sums(rows)[:, None]))


@typed_row_map
def log_softmax_naive(rows: Array, dtype: np.dtype[np.generic]) -> Array:
    """log(exp(x) / Σ exp(x)).

    Inherits every failure of the naive softmax and adds one: a probability that rounds to 0 has logarithm -inf, where
    the true value is an ordinary number such as -120.
    """
    return np.asarray(np.log(naive_probabilities(rows.astype(dtype))))


@row_map
def log_softmax_log_of_softmax(rows: Array) -> Array:
    """log of the shifted softmax.

    The shift cures overflow only. Below the underflow edge the probability is 0 and its logarithm -inf; in the
    subnormal range before it most digits are gone; near 1 the logarithm has the rounding error of p, not of log p.
    """
    return np.log(probabilities(rows))


@row_map
def log_softmax_unshifted_lse(rows: Array) -> Array:
    """x - logsumexp(x), the sum formed on shifted data but added back to the maximum before the difference is taken.

    Cancels at a common offset c: an absolute error of about |c|·u, so log p of equal logits at 1e5 is off by 4e-3 in
    float32.
    """
    return rows - log_sums(rows)[:, None]


@typed_row_reduction
def logsumexp_naive(rows: Array, dtype: np.dtype[np.generic]) -> Array:
    """log Σ exp(x); any shape with ``axis`` removed, same dtype out.

    inf above the overflow edge of exp, -inf when every logit is below the underflow edge. In bfloat16 the sum stalls
    at 256 equal terms.
    """
    return np.asarray(np.log(np.exp(rows.astype(dtype)).sum(axis=-1)))


@row_reduction
def logsumexp_logaddexp(rows: Array) -> Array:
    """logaddexp folded over the row.

    Neither overflows nor underflows, but each of the n - 1 steps rounds at the size of the result: the error is up to
    n·|L|·u where the shifted form has |L|·u once. Visible at a large common offset or on long rows.
    """
    return np.asarray(np.logaddexp.reduce(rows, axis=-1))


@as_cross_entropy
def cross_entropy_naive(task: Task) -> Array:
    """-log(exp(x_t) / Σ exp(x)): unshifted softmax, then the logarithm of the target's probability.

    NaN above the overflow edge of exp, +inf where p underflows. logits [N, C], target int [N] or probabilities.
    """
    return _loss_of(task, naive_probabilities(task.logits), only_nonzero=True)


@as_cross_entropy
def cross_entropy_naive_onehot(task: Task) -> Array:
    """-Σ_c y_c·log(p_c) on a computed (shifted) softmax p, y one-hot or given.

    Every class takes part in the sum, so one probability that underflows anywhere gives 0·log 0 = 0·(-inf) = NaN, in
    float32 from a gap of about 104 between logits; if it is the target's own, +inf or NaN for a loss like 120.
    """
    return _loss_of(task, probabilities(task.rows, normalisers.shifted), only_nonzero=False)


@as_cross_entropy
def cross_entropy_naive_index(task: Task) -> Array:
    """-log(p_t) on a computed (shifted) softmax p.

    log 0 = -inf once the target's probability underflows, in float32 from a gap of about 104; digits are lost in the
    subnormal range before it. Losses near 0 are multiples of the unit roundoff.
    """
    return _loss_of(task, probabilities(task.rows, normalisers.shifted), only_nonzero=True)


@as_cross_entropy
def cross_entropy_lse_minus_logit(task: Task) -> Array:
    """logsumexp(x) - x_t, as in many kernels.

    Does not overflow, but cancels: at a common offset c the loss carries an absolute error of about |c|·u.
    """
    rows = task.rows
    return _loss_from_log(task, rows - log_sums(rows)[:, None], only_nonzero=True)


def _loss_of(task: Task, p: Array, *, only_nonzero: bool) -> Array:
    return _loss_from_log(task, np.asarray(np.log(p)), only_nonzero=only_nonzero)


def _loss_from_log(task: Task, log_p: Array, *, only_nonzero: bool) -> Array:
    """The reduced loss in the logits' dtype; ``only_nonzero`` leaves out classes with a zero coefficient."""
    terms = coefficients(task)
    products = terms.q * log_p
    if only_nonzero:
        products = np.where((terms.q == 0) & ~np.isnan(log_p), 0, products)
    losses = np.where(terms.live, -products.sum(axis=-1), 0)
    return reduce_losses(losses, terms.masses, task.reduction).astype(task.logits.dtype)[()]
