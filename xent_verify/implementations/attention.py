"""The softmax of attention scores: a scale, a mask of what is kept, a sink in the denominator.

Scores of any shape along ``axis``, same dtype out; formats below float32 are computed in float32 and rounded once. A row without
a kept score gives NaN, or 0 where there is a sink.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from xent_verify.implementations.rows import Array, as_rows, from_rows, named_after

__all__ = [
    "AttentionCall",
    "as_attention",
    "attention_softmax_masked_scores",
    "attention_softmax_masked_terms",
    "attention_softmax_naive",
    "attention_softmax_online",
    "attention_softmax_wide",
]

_BLOCK = 64


class AttentionCall(Protocol):
    """``f(x, *, scale=1.0, softcap=None, mask=None, sink=None, axis=-1)``."""

    def __call__(
        self,
        x: ArrayLike,
        *,
        scale: float = 1.0,
        softcap: float | None = None,
        mask: ArrayLike | None = None,
        sink: float | None = None,
        axis: int = -1,
    ) -> Array: ...


AttentionKernel = Callable[[Array, Any, Array, Any], Array]
"""Scores [R, n] in the working precision, the scale, the mask [R, n], the sink (-inf: none) -> probabilities [R, n]."""


def as_attention(kernel: AttentionKernel) -> AttentionCall:
    """The kernel with the operation's signature."""

    def call(
        x: ArrayLike,
        *,
        scale: float = 1.0,
        softcap: float | None = None,
        mask: ArrayLike | None = None,
        sink: float | None = None,
        axis: int = -1,
    ) -> Array:
        given = np.asarray(x)
        if given.size == 0:
            return np.empty(given.shape, given.dtype)
        rows = as_rows(given, axis)
        kept = np.broadcast_to(True if mask is None else np.asarray(mask, np.bool_), given.shape)
        number = rows.dtype.type
        with np.errstate(all="ignore"):
            if softcap is not None:
                rows = np.tanh(rows * number(scale) / number(softcap)) * number(softcap)
            found = kernel(
                rows,
                number(scale if softcap is None else 1),
                as_rows(kept, axis, np.bool_),
                number(-np.inf if sink is None else sink),
            )
            return from_rows(found, given, axis)

    return named_after(kernel, call)


@as_attention
def attention_softmax_masked_scores(rows: Array, scale: Any, mask: Array, sink: Any) -> Array:
    """Masked scores are -inf before a softmax about the largest of the kept ones and the sink."""
    z = np.where(mask, rows * scale, -np.inf).astype(rows.dtype)
    peak = np.maximum(z.max(axis=-1, keepdims=True), sink)
    terms = np.exp(z - peak)
    return np.asarray(terms / (terms.sum(axis=-1, keepdims=True) + np.exp(sink - peak)))


@as_attention
def attention_softmax_masked_terms(rows: Array, scale: Any, mask: Array, sink: Any) -> Array:
    """The maximum is that of the kept scores; masked terms are put to 0 after exp."""
    z = rows * scale
    peak = np.maximum(z.max(axis=-1, keepdims=True, where=mask, initial=-np.inf), sink)
    terms = np.where(mask, np.exp(z - peak), 0)
    return np.asarray(terms / (terms.sum(axis=-1, keepdims=True) + np.exp(sink - peak)))


@as_attention
def attention_softmax_online(rows: Array, scale: Any, mask: Array, sink: Any) -> Array:
    """One pass over blocks of 64 with a running maximum and a sum rescaled to it; it begins with the sink."""
    z = np.where(mask, rows * scale, -np.inf).astype(rows.dtype)
    peak = np.full((len(z), 1), sink, rows.dtype)
    total = np.full((len(z), 1), 0 if np.isneginf(sink) else 1, rows.dtype)
    for start in range(0, z.shape[1], _BLOCK):
        block = z[:, start : start + _BLOCK]
        new = np.maximum(peak, block.max(axis=-1, keepdims=True))
        safe = np.where(np.isneginf(new), 0, new).astype(rows.dtype)
        total = total * np.exp(peak - safe) + np.exp(block - safe).sum(axis=-1, keepdims=True)
        peak = new
    return np.asarray(np.exp(z - peak) / total)


@as_attention
def attention_softmax_wide(rows: Array, scale: Any, mask: Array, sink: Any) -> Array:
    """Masked scores are -inf, all in float64, rounded at the end."""
    z = np.where(mask, rows.astype(np.float64) * float(scale), -np.inf)
    peak = np.maximum(z.max(axis=-1, keepdims=True), float(sink))
    terms = np.exp(z - peak)
    return np.asarray(terms / (terms.sum(axis=-1, keepdims=True) + np.exp(float(sink) - peak)))


@as_attention
def attention_softmax_naive(rows: Array, scale: Any, mask: Array, sink: Any) -> Array:
    """exp of the scaled scores as they are: inf/inf above the overflow edge of exp, 0/0 far below 0."""
    terms = np.where(mask, np.exp(rows * scale), 0)
    return np.asarray(terms / (terms.sum(axis=-1, keepdims=True) + np.exp(sink)))
