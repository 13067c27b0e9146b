"""Softmax, log-softmax, logsumexp and cross entropy that keep the contract's bound on every input.

All take float64, float32, float16, bfloat16 or float8 and return the same format; formats below float32 are computed
in float32 and rounded once at the end. Where a docstring names only the shape of the algorithm, formula, shapes and
special values are those of ``softmax_stable``, ``log_softmax_stable``, ``logsumexp_stable`` or
``cross_entropy_stable``.
"""

from __future__ import annotations

import numpy as np

from xent_verify.implementations import normalisers
from xent_verify.implementations.normalisers import Normalise, Normaliser
from xent_verify.implementations.rows import Array, row_map, row_reduction
from xent_verify.implementations.targets import LossForm, Task, as_cross_entropy, solve, weigh

__all__ = [
    "cross_entropy_chunked",
    "cross_entropy_log1p",
    "cross_entropy_logsumexp",
    "cross_entropy_online",
    "cross_entropy_stable",
    "cross_entropy_wide",
    "log_softmax_chunked",
    "log_softmax_log1p",
    "log_softmax_online",
    "log_softmax_pairwise",
    "log_softmax_stable",
    "log_softmax_wide",
    "logsumexp_chunked",
    "logsumexp_log1p",
    "logsumexp_online",
    "logsumexp_online_textbook",
    "logsumexp_pairwise",
    "logsumexp_stable",
    "logsumexp_wide",
    "softmax_chunked",
    "softmax_online",
    "softmax_online_textbook",
    "softmax_pairwise",
    "softmax_stable",
    "softmax_wide",
]


def defined(rows: Array, normalise: Normalise) -> Normaliser:
    """The normaliser, NaN for a row that holds +inf: its softmax is a convention, and this package's is NaN."""
    reference, total, log_total = normalise(rows)
    beyond = np.isposinf(total)
    return Normaliser(reference, np.where(beyond, np.nan, total), np.where(beyond, np.nan, log_total))


def probabilities(rows: Array, normalise: Normalise = normalisers.shifted) -> Array:
    """exp(x - r) / Σ exp(x - r) of each row."""
    reference, total, _ = defined(rows, normalise)
    return np.asarray(np.exp(rows - reference) / total)


def log_probabilities(rows: Array, normalise: Normalise = normalisers.shifted) -> Array:
    """(x - r) - log Σ exp(x - r) of each row."""
    reference, _, log_total = defined(rows, normalise)
    return (rows - reference) - log_total


def log_sums(rows: Array, normalise: Normalise = normalisers.shifted) -> Array:
    """r + log Σ exp(x - r) of each row."""
    reference, _, log_total = normalise(rows)
    return (reference + log_total)[:, 0]


def dot_with_log_probabilities(normalise: Normalise = normalisers.shifted) -> LossForm:
    """Σ_c q_c·(log s - (x_c - r)): log p is formed, then weighted."""

    def form(rows: Array, q: Array, halvings: int) -> Array:
        reference, _, log_total = defined(rows, normalise)
        down = rows.dtype.type(2.0**-halvings)
        surprise = (reference * down - rows * down) + log_total * down
        return weigh(surprise, q)

    return form


def logsumexp_minus_logits(rows: Array, q: Array, halvings: int) -> Array:
    """(Σ_c q_c)·log s - Σ_c q_c·(x_c - r): log p is never formed. On shifted data, so nothing cancels."""
    reference, _, log_total = defined(rows, normalisers.shifted)
    down = rows.dtype.type(2.0**-halvings)
    gaps = weigh(reference * down - rows * down, q)
    return np.asarray(gaps + (log_total * down)[:, 0] * q.sum(axis=-1))


@row_map
def softmax_stable(rows: Array) -> Array:
    """Shifted softmax, exp(x - m) / Σ exp(x - m) with m = max x; any shape, reduced along ``axis``, same dtype out.

    No term exceeds 1, one equals 1, so the sum neither overflows nor vanishes. -inf gives 0. A row with NaN or +inf,
    or of -inf only, gives NaN; an empty axis gives an empty array.
    """
    return probabilities(rows)


@row_map
def softmax_pairwise(rows: Array) -> Array:
    """Shifted softmax with a balanced tree of additions."""
    return probabilities(rows, normalisers.pairwise)


@row_map
def softmax_chunked(rows: Array) -> Array:
    """Softmax from maxima and sums of chunks of 256, brought to the common maximum."""
    return probabilities(rows, normalisers.chunked)


@row_map
def softmax_online(rows: Array) -> Array:
    """Softmax with a normaliser found in a single pass: running reference, rescaled and compensated sum."""
    return probabilities(rows, normalisers.online)


@row_map
def softmax_online_textbook(rows: Array) -> Array:
    """Softmax with the plain online recurrence; its error grows with n (policy ``textbook``)."""
    return probabilities(rows, normalisers.online_textbook)


@row_map
def softmax_wide(rows: Array) -> Array:
    """Shifted softmax in float64, rounded at the end (so float32 is all but correctly rounded)."""
    return probabilities(rows.astype(np.float64))


@row_map
def log_softmax_stable(rows: Array) -> Array:
    """Shifted log-softmax, (x - m) - log Σ exp(x - m); any shape, along ``axis``, same dtype out.

    -inf stays -inf. A row with NaN or +inf, or of -inf only, gives NaN. x - m overflows to -inf only where the true
    value does. At the maximum of a dominated row the *absolute* error is a few roundings of 1; ``log_softmax_log1p``
    keeps relative accuracy there too.
    """
    return log_probabilities(rows)


@row_map
def log_softmax_log1p(rows: Array) -> Array:
    """(x - m) - log1p(T), T the sum without one maximal term: values near 0 keep their relative accuracy."""
    return log_probabilities(rows, normalisers.log1p_form)


@row_map
def log_softmax_pairwise(rows: Array) -> Array:
    """Shifted log-softmax with a balanced tree of additions."""
    return log_probabilities(rows, normalisers.pairwise)


@row_map
def log_softmax_chunked(rows: Array) -> Array:
    """Log-softmax from maxima and sums of chunks of 256, brought to the common maximum."""
    return log_probabilities(rows, normalisers.chunked)


@row_map
def log_softmax_online(rows: Array) -> Array:
    """Log-softmax with a normaliser found in a single pass."""
    return log_probabilities(rows, normalisers.online)


@row_map
def log_softmax_wide(rows: Array) -> Array:
    """The log1p form in float64, rounded at the end."""
    return log_probabilities(rows.astype(np.float64), normalisers.log1p_form)


@row_reduction
def logsumexp_stable(rows: Array) -> Array:
    """Shifted logsumexp, m + log Σ exp(x - m); any shape with ``axis`` removed, same dtype out.

    -inf for a row of -inf and for an empty one, +inf for one with +inf and no NaN, NaN for one with NaN.
    """
    return log_sums(rows)


@row_reduction
def logsumexp_log1p(rows: Array) -> Array:
    """m + log1p(T), T the sum without one maximal term."""
    return log_sums(rows, normalisers.log1p_form)


@row_reduction
def logsumexp_pairwise(rows: Array) -> Array:
    """Shifted logsumexp with a balanced tree of additions."""
    return log_sums(rows, normalisers.pairwise)


@row_reduction
def logsumexp_chunked(rows: Array) -> Array:
    """Logsumexp from maxima and sums of chunks of 256, brought to the common maximum."""
    return log_sums(rows, normalisers.chunked)


@row_reduction
def logsumexp_online(rows: Array) -> Array:
    """Logsumexp in a single pass: running reference, rescaled and compensated sum."""
    return log_sums(rows, normalisers.online)


@row_reduction
def logsumexp_online_textbook(rows: Array) -> Array:
    """Logsumexp by the plain online recurrence; its error grows with n (policy ``textbook``)."""
    return log_sums(rows, normalisers.online_textbook)


@row_reduction
def logsumexp_wide(rows: Array) -> Array:
    """The log1p form in float64, rounded at the end."""
    return log_sums(rows.astype(np.float64), normalisers.log1p_form)


@as_cross_entropy
def cross_entropy_stable(task: Task) -> Array:
    """-Σ q·log p on shifted log-softmax; logits [N, C], target int [N] or probabilities [N, C].

    ``weight`` [C], ``ignore_index``, ``reduction`` and ``label_smoothing`` as in torch. A zero coefficient contributes
    0 even where log p is -inf; a NaN in a row that counts comes out. Totals that overflow are taken again, scaled.
    """
    return solve(task, dot_with_log_probabilities())


@as_cross_entropy
def cross_entropy_logsumexp(task: Task) -> Array:
    """log Σ exp(x - m) - (x_t - m): logsumexp minus logit, both on shifted data."""
    return solve(task, logsumexp_minus_logits)


@as_cross_entropy
def cross_entropy_log1p(task: Task) -> Array:
    """Cross entropy on the log1p form: losses far below the unit roundoff are kept, not rounded to 0."""
    return solve(task, dot_with_log_probabilities(normalisers.log1p_form))


@as_cross_entropy
def cross_entropy_online(task: Task) -> Array:
    """Cross entropy with the single-pass normaliser."""
    return solve(task, dot_with_log_probabilities(normalisers.online))


@as_cross_entropy
def cross_entropy_chunked(task: Task) -> Array:
    """Cross entropy over vocabulary chunks of 256."""
    return solve(task, dot_with_log_probabilities(normalisers.chunked))


@as_cross_entropy
def cross_entropy_wide(task: Task) -> Array:
    """The log1p form in float64, rounded at the end."""
    return solve(task, dot_with_log_probabilities(normalisers.log1p_form), np.dtype(np.float64))
