"""Gates that keep the k largest weights, the Jensen-Shannon divergence, losses of given log-probabilities.

Same dtype out; formats below float32 are computed in float32 and rounded once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from xent_verify.implementations.fused import reduced
from xent_verify.implementations.rows import Array, as_rows, named_after, working_dtype
from xent_verify.implementations.stable import log_probabilities, probabilities

__all__ = [
    "NllCall",
    "TopCall",
    "as_js",
    "as_nll",
    "as_top",
    "divergence",
    "js_divergence_naive",
    "js_divergence_ratios",
    "js_divergence_stable",
    "js_divergence_wide",
    "largest",
    "nll_one_hot",
    "nll_one_hot_masked",
    "nll_stable",
    "nll_wide",
    "topk_softmax_naive",
    "topk_softmax_of_chosen",
    "topk_softmax_stable",
    "topk_softmax_wide",
    "weighted",
]


class TopCall(Protocol):
    """``f(x, *, k=2, renormalise=False)``."""

    def __call__(self, x: ArrayLike, *, k: int = 2, renormalise: bool = False) -> Array: ...


TopKernel = Callable[[Array, int, bool], Array]
"""Logits [R, n], k and renormalise -> weights [R, k]."""


def as_top(kernel: TopKernel) -> TopCall:
    """The kernel with the operation's signature."""

    def call(x: ArrayLike, *, k: int = 2, renormalise: bool = False) -> Array:
        given = np.asarray(x)
        shape = (*given.shape[:-1], k)
        if given.size == 0:
            return np.empty(shape, given.dtype)
        with np.errstate(all="ignore"):
            return np.asarray(kernel(as_rows(given, -1), k, renormalise)).reshape(shape).astype(given.dtype)

    return named_after(kernel, call)


def largest(rows: Array, k: int) -> Array:
    """The k largest of each row in falling order; a NaN comes first."""
    return np.sort(rows, axis=-1)[:, ::-1][:, :k]


def _over(top: Array, *, renormalise: bool) -> Array:
    return top / top.sum(axis=-1, keepdims=True) if renormalise else top


@as_top
def topk_softmax_stable(rows: Array, k: int, renormalise: bool) -> Array:
    """Softmax of all, then the k largest."""
    return _over(largest(probabilities(rows), k), renormalise=renormalise)


@as_top
def topk_softmax_of_chosen(rows: Array, k: int, renormalise: bool) -> Array:
    """The k largest logits first; their terms over the sum of all or of theirs."""
    top, peak = largest(rows, k), rows.max(axis=-1, keepdims=True)
    terms = np.exp(top - peak)
    total = terms if renormalise else np.exp(rows - peak)
    return np.asarray(terms / total.sum(axis=-1, keepdims=True))


@as_top
def topk_softmax_wide(rows: Array, k: int, renormalise: bool) -> Array:
    """Softmax of all in float64, then the k largest, rounded at the end."""
    return _over(largest(probabilities(rows.astype(np.float64)), k), renormalise=renormalise)


@as_top
def topk_softmax_naive(rows: Array, k: int, renormalise: bool) -> Array:
    """exp without a shift."""
    terms = np.exp(rows)
    return _over(largest(terms / terms.sum(axis=-1, keepdims=True), k), renormalise=renormalise)


def as_js(kernel: Callable[[Array, Array], Array]) -> Callable[..., Array]:
    """The kernel, of logits [R, n] twice -> [R], with the signature ``f(p_logits, q_logits, axis=-1)``."""

    def call(p_logits: ArrayLike, q_logits: ArrayLike, axis: int = -1) -> Array:
        given = np.asarray(p_logits)
        shape = np.moveaxis(given, axis, -1).shape[:-1]
        with np.errstate(all="ignore"):
            if given.size == 0:
                return np.zeros(shape, given.dtype)
            found = kernel(as_rows(given, axis), as_rows(np.asarray(q_logits), axis))
            return np.asarray(found).reshape(shape).astype(given.dtype)[()]

    return named_after(kernel, call)


def divergence(log_p: Array, log_m: Array) -> Array:
    """Sum of p (log p - log m); p = 0 contributes 0."""
    p = np.exp(log_p)
    return np.asarray(np.where(p == 0, 0, p * (log_p - log_m)).sum(axis=-1))


@as_js
def js_divergence_stable(p_logits: Array, q_logits: Array) -> Array:
    """Both divergences from the logaddexp of the log-probabilities less log 2."""
    log_p, log_q = log_probabilities(p_logits), log_probabilities(q_logits)
    log_m = np.logaddexp(log_p, log_q) - p_logits.dtype.type(np.log(2.0))
    return np.asarray((divergence(log_p, log_m) + divergence(log_q, log_m)) / 2)


def _ratios(p_logits: Array, q_logits: Array) -> Array:
    log_p, log_q = log_probabilities(p_logits), log_probabilities(q_logits)

    def part(own: Array, other: Array) -> Array:
        r = other - own
        logs = np.maximum(r, 0) + np.log((1 + np.exp(-np.abs(r))) / 2)
        return np.asarray(np.where(own == -np.inf, 0, np.exp(own) * -logs).sum(axis=-1))

    return np.asarray((part(log_p, log_q) + part(log_q, log_p)) / 2)


@as_js
def js_divergence_ratios(p_logits: Array, q_logits: Array) -> Array:
    """From the logarithms of the ratios q / p."""
    return _ratios(p_logits, q_logits)


@as_js
def js_divergence_wide(p_logits: Array, q_logits: Array) -> Array:
    """The same in float64, rounded at the end."""
    return _ratios(p_logits.astype(np.float64), q_logits.astype(np.float64))


@as_js
def js_divergence_naive(p_logits: Array, q_logits: Array) -> Array:
    """log of probabilities: 0 log 0 and log of what underflowed."""
    p, q = probabilities(p_logits), probabilities(q_logits)
    m = (p + q) / 2
    return np.asarray(((p * np.log(p / m)).sum(axis=-1) + (q * np.log(q / m)).sum(axis=-1)) / 2)


class NllCall(Protocol):
    """``f(log_probabilities, target, *, weight=None, ignore_index=-100, reduction="mean")``."""

    def __call__(
        self,
        log_probabilities: ArrayLike,
        target: ArrayLike,
        *,
        weight: ArrayLike | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
    ) -> Array: ...


NllKernel = Callable[[Array, Array], Array]
"""Log-probabilities [N, C] and labels [N] in [0, C) in the working precision -> the labels' elements [N]."""
NllReduce = Callable[[Array, Array, Array, str], Any]
"""Losses [N] with their weights [N], which rows count [N], the reduction -> the result."""


def weighted(losses: Array, weights: Array, live: Array, reduction: str) -> Any:
    """w x; their sum; or that over the sum of the weights that count."""
    kept = np.where(live, np.where(weights == 0, 0, weights * losses), 0).astype(losses.dtype)
    if reduction != "mean":
        return reduced(kept, live, reduction, kept.dtype)
    return kept.sum() / np.where(live, weights, 0).sum().astype(losses.dtype)


def as_nll(kernel: NllKernel, reduce: NllReduce = weighted) -> NllCall:
    """The kernel with the operation's signature."""

    def call(
        log_probabilities: ArrayLike,
        target: ArrayLike,
        *,
        weight: ArrayLike | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
    ) -> Array:
        given, labels = np.asarray(log_probabilities), np.asarray(target)
        number = working_dtype(given.dtype)
        live = labels != ignore_index
        with np.errstate(all="ignore"):
            places = np.where(live, labels, 0).astype(np.int64)
            weights = np.ones(len(labels), number) if weight is None else np.asarray(weight).astype(number)[places]
            losses = -kernel(given.astype(number), places) if given.size else np.zeros(len(labels), number)
            return np.asarray(reduce(losses, weights, live, reduction)).astype(given.dtype)[()]

    return named_after(kernel, call)


@as_nll
def nll_stable(rows: Array, labels: Array) -> Array:
    """The element of each row at its label."""
    return np.asarray(np.take_along_axis(rows, labels[:, None], axis=-1)[:, 0])


@as_nll
def nll_one_hot_masked(rows: Array, labels: Array) -> Array:
    """The sum of a row whose other elements are put to 0."""
    return np.asarray(np.where(np.arange(rows.shape[-1]) == labels[:, None], rows, 0).sum(axis=-1))


@as_nll
def nll_wide(rows: Array, labels: Array) -> Array:
    """In float64, rounded at the end."""
    return np.asarray(np.take_along_axis(rows.astype(np.float64), labels[:, None], axis=-1)[:, 0])


@as_nll
def nll_one_hot(rows: Array, labels: Array) -> Array:
    """The sum of one-hot times x: 0 times -inf is NaN."""
    return np.asarray(((np.arange(rows.shape[-1]) == labels[:, None]) * rows).sum(axis=-1))
