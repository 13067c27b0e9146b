"""What training loops take from logits beside the loss: entropy, the log-probability of one token.

Any shape, reduced along ``axis`` (entropy), or logits [N, C] with labels [N]; same dtype out. Formats below float32 are
computed in float32 and rounded once. A row with NaN or +inf, or of -inf only, gives NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from xent_verify.implementations import normalisers
from xent_verify.implementations.naive import naive_probabilities
from xent_verify.implementations.normalisers import Normalise
from xent_verify.implementations.rows import Array, as_rows, named_after, row_reduction, working_dtype
from xent_verify.implementations.stable import defined, log_probabilities

__all__ = [
    "TokenCall",
    "as_token_logprob",
    "entropy_chunked",
    "entropy_gaps",
    "entropy_lse",
    "entropy_naive",
    "entropy_stable",
    "entropy_wide",
    "gathered",
    "token_logprob_chunked",
    "token_logprob_log1p",
    "token_logprob_log_of_softmax",
    "token_logprob_lse_minus_logit",
    "token_logprob_stable",
    "token_logprob_wide",
]


def surprise(rows: Array, normalise: Normalise = normalisers.shifted) -> Array:
    """-Σ p·log p, both from one normaliser; p = 0 contributes 0."""
    log_p = log_probabilities(rows, normalise)
    p = np.exp(log_p)
    return np.asarray(-np.where(p == 0, 0, p * log_p).sum(axis=-1))


@row_reduction
def entropy_stable(rows: Array) -> Array:
    """-Σ p·log p with log p the shifted log-softmax and p its exponential; 0·log 0 is 0."""
    return surprise(rows)


@row_reduction
def entropy_gaps(rows: Array) -> Array:
    """log s + Σ p·(m - x): two terms that are not negative, and log p is never formed."""
    reference, total, log_total = defined(rows, normalisers.shifted)
    terms = np.exp(rows - reference)
    with_gap = np.where(terms == 0, 0, terms * (reference - rows))
    return np.asarray(log_total[:, 0] + (with_gap / total).sum(axis=-1))


@row_reduction
def entropy_chunked(rows: Array) -> Array:
    """-Σ p·log p from maxima and sums of chunks of 256."""
    return surprise(rows, normalisers.chunked)


@row_reduction
def entropy_wide(rows: Array) -> Array:
    """-Σ p·log p in float64, rounded at the end."""
    return surprise(rows.astype(np.float64), normalisers.log1p_form)


@row_reduction
def entropy_naive(rows: Array) -> Array:
    """-Σ p·log p of an unshifted softmax: inf/inf, and 0·log 0 = NaN where a probability underflows."""
    p = naive_probabilities(rows)
    return np.asarray(-(p * np.log(p)).sum(axis=-1))


@row_reduction
def entropy_lse(rows: Array) -> Array:
    """L - Σ p·x: with a common offset c both are about c, and the difference has an absolute error of about |c|·u."""
    reference, total, log_total = defined(rows, normalisers.shifted)
    p = np.exp(rows - reference) / total
    return np.asarray((reference + log_total)[:, 0] - (p * rows).sum(axis=-1))


class TokenCall(Protocol):
    """``f(logits, target, *, temperature=1.0, ignore_index=-100)``."""

    def __call__(
        self, logits: ArrayLike, target: ArrayLike, *, temperature: float = 1.0, ignore_index: int = -100
    ) -> Array: ...


TokenKernel = Callable[[Array, Array, Any], Array]
"""Logits [R, n], labels [R] in [0, n) and the temperature in the working precision -> log-probabilities [R]."""


def as_token_logprob(kernel: TokenKernel) -> TokenCall:
    """The kernel with the operation's signature: ignored labels give 0, whatever their rows hold."""

    def call(logits: ArrayLike, target: ArrayLike, *, temperature: float = 1.0, ignore_index: int = -100) -> Array:
        given, labels = np.asarray(logits), np.asarray(target).astype(np.int64)
        if given.size == 0:
            return np.zeros(given.shape[:-1], given.dtype)
        live = labels != ignore_index
        with np.errstate(all="ignore"):
            rows = as_rows(given, -1)
            found = kernel(rows, np.where(live, labels, 0), working_dtype(given.dtype).type(temperature))
            return np.where(live, found, 0).astype(given.dtype)

    return named_after(kernel, call)


def gathered(rows: Array, labels: Array) -> Array:
    """The element of each row at its label."""
    return np.take_along_axis(rows, labels[:, None], axis=-1)[:, 0]


@as_token_logprob
def token_logprob_stable(rows: Array, labels: Array, temperature: Any) -> Array:
    """Shifted log-softmax of x / T, then the label's element."""
    return gathered(log_probabilities(rows / temperature), labels)


@as_token_logprob
def token_logprob_log1p(rows: Array, labels: Array, temperature: Any) -> Array:
    """(x_t - m) - log1p(T), T the sum without one maximal term: values near 0 keep their relative accuracy."""
    return gathered(log_probabilities(rows / temperature, normalisers.log1p_form), labels)


@as_token_logprob
def token_logprob_chunked(rows: Array, labels: Array, temperature: Any) -> Array:
    """The label's gap to the maximum, less log s from chunks of 256: no log-softmax is stored."""
    cooled = rows * (1 / temperature)
    reference, _, log_total = defined(cooled, normalisers.chunked)
    return np.asarray((gathered(cooled, labels) - reference[:, 0]) - log_total[:, 0])


@as_token_logprob
def token_logprob_wide(rows: Array, labels: Array, temperature: Any) -> Array:
    """Shifted log-softmax in float64, rounded at the end."""
    return gathered(log_probabilities(rows.astype(np.float64) / temperature), labels)


@as_token_logprob
def token_logprob_lse_minus_logit(rows: Array, labels: Array, temperature: Any) -> Array:
    """x_t - L: with a common offset c both are about c, and the difference has an absolute error of about |c|·u."""
    cooled = rows / temperature
    reference, _, log_total = defined(cooled, normalisers.shifted)
    return np.asarray(gathered(cooled, labels) - (reference + log_total)[:, 0])


@as_token_logprob
def token_logprob_log_of_softmax(rows: Array, labels: Array, temperature: Any) -> Array:
    """log of a computed softmax: -inf where the probability underflows."""
    reference, total, _ = defined(rows / temperature, normalisers.shifted)
    return np.log(gathered(np.exp(rows / temperature - reference) / total, labels))
