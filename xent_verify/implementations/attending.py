"""Attention over keys and values, its logsumexp, and merges of two parts of it.

q [.., R, n], k [.., K, n], v [.., K, m], same dtype out; formats below float32 are computed in float32 and rounded once. A row
without a kept key gives NaN, and -inf as its logsumexp.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from xent_verify.implementations.rows import Array, named_after, working_dtype

__all__ = [
    "AttendingCall",
    "MergeCall",
    "Scored",
    "as_attending",
    "as_attention_lse",
    "as_merge",
    "attention_blocks",
    "attention_lse_blocks",
    "attention_lse_naive",
    "attention_lse_stable",
    "attention_lse_wide",
    "attention_naive",
    "attention_scaled_queries",
    "attention_stable",
    "attention_wide",
    "merge_states_logsumexp",
    "merge_states_naive",
    "merge_states_stable",
    "merge_states_wide",
    "merged",
    "softened",
]

_BLOCK = 64
_EXP2 = np.log2(np.e)


@dataclass(frozen=True, slots=True)
class Scored:
    """The arguments of one call in the working precision; ``kept`` and ``bias`` broadcast against scores [.., R, K]."""

    q: Array
    k: Array
    scale: Any
    bias: Any
    kept: Array

    @property
    def products(self) -> Array:
        """q . k."""
        return np.asarray(self.q @ np.swapaxes(self.k, -1, -2))

    @property
    def scores(self) -> Array:
        """c (q . k) + b, -inf where a key is not kept."""
        return self.masked(self.products * self.scale + self.bias)

    def masked(self, scores: Array) -> Array:
        """-inf where a key is not kept."""
        return np.where(self.kept, scores, -np.inf).astype(scores.dtype)


def _scored(q: Array, k: Array, scale: float, softcap: float | None, bias: Any, mask: Any, *, causal: bool) -> Scored:
    """Capped products stand as queries whose products with the unit vectors they are."""
    number = working_dtype(q.dtype)
    rows, keys = q.shape[-2], k.shape[-2]
    kept = np.tri(rows, keys, keys - rows, dtype=np.bool_) if causal else np.ones((rows, keys), np.bool_)
    kept = kept if mask is None else kept & np.asarray(mask, np.bool_)
    given = number.type(0) if bias is None else np.asarray(bias).astype(number)
    asked = Scored(q.astype(number), k.astype(number), number.type(scale), given, kept)
    if softcap is None:
        return asked
    cap = number.type(softcap)
    capped = np.where(kept, np.tanh(asked.products * asked.scale / cap) * cap, 0).astype(
        number
    )  # NaN of a key not kept
    return Scored(capped, np.eye(keys, dtype=number), number.type(1), given, kept)


class AttendingCall(Protocol):
    """``f(q, k, v, *, scale=1.0, softcap=None, bias=None, mask=None, causal=False)``."""

    def __call__(
        self,
        q: ArrayLike,
        k: ArrayLike,
        v: ArrayLike,
        *,
        scale: float = 1.0,
        softcap: float | None = None,
        bias: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        causal: bool = False,
    ) -> Array: ...


def as_attending(kernel: Callable[[Scored, Array], Array]) -> AttendingCall:
    """The kernel (scored arguments, values [.., K, m]) -> [.., R, m] with the operation's signature."""

    def call(
        q: ArrayLike,
        k: ArrayLike,
        v: ArrayLike,
        *,
        scale: float = 1.0,
        softcap: float | None = None,
        bias: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        causal: bool = False,
    ) -> Array:
        queries, values = np.asarray(q), np.asarray(v)
        shape = (*queries.shape[:-1], values.shape[-1])
        if not np.prod(shape):
            return np.empty(shape, queries.dtype)
        with np.errstate(all="ignore"):
            asked = _scored(queries, np.asarray(k), scale, softcap, bias, mask, causal=causal)
            return np.asarray(kernel(asked, values.astype(asked.q.dtype))).astype(queries.dtype)

    return named_after(kernel, call)


def as_attention_lse(kernel: Callable[[Scored], Array]) -> Callable[..., Array]:
    """The kernel (scored arguments) -> [.., R] with the operation's signature."""

    def call(
        q: ArrayLike,
        k: ArrayLike,
        *,
        scale: float = 1.0,
        softcap: float | None = None,
        bias: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        causal: bool = False,
    ) -> Array:
        queries = np.asarray(q)
        with np.errstate(all="ignore"):
            asked = _scored(queries, np.asarray(k), scale, softcap, bias, mask, causal=causal)
            return np.asarray(kernel(asked)).astype(queries.dtype)

    return named_after(kernel, call)


def softened(scores: Array, values: Array) -> Array:
    """softmax(scores) values, about the largest score of each row."""
    terms = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray((terms / terms.sum(axis=-1, keepdims=True)) @ values)


@as_attending
def attention_stable(asked: Scored, values: Array) -> Array:
    """Two passes: the softmax of all scores, then the weighted sum."""
    return softened(asked.scores, values)


@as_attending
def attention_scaled_queries(asked: Scored, values: Array) -> Array:
    """The scale and log2 e are multiplied into the queries; powers of 2; the division comes last."""
    number = asked.q.dtype.type
    products = (asked.q * (asked.scale * number(_EXP2))) @ np.swapaxes(asked.k, -1, -2)
    scores = asked.masked(products + asked.bias * number(_EXP2))
    terms = np.exp2(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray((terms @ values) / terms.sum(axis=-1, keepdims=True))


def passed(scores: Array, values: Array, block: int = _BLOCK) -> tuple[Array, Array, Array]:
    """One pass over blocks of keys: (running maximum, sum of terms, weighted sum), rescaled wherever the maximum grows."""
    peak = np.full((*scores.shape[:-1], 1), -np.inf, scores.dtype)
    total, mixed = np.zeros_like(peak), np.zeros((*scores.shape[:-1], values.shape[-1]), scores.dtype)
    for start in range(0, scores.shape[-1], block):
        part = scores[..., start : start + block]
        new = np.maximum(peak, part.max(axis=-1, keepdims=True))
        safe = np.where(np.isneginf(new), 0, new).astype(scores.dtype)
        terms, kept = np.exp(part - safe), np.exp(peak - safe)
        total = total * kept + terms.sum(axis=-1, keepdims=True)
        mixed = mixed * kept + terms @ values[..., start : start + block, :]
        peak = new
    return peak, total, mixed


@as_attending
def attention_blocks(asked: Scored, values: Array) -> Array:
    """One pass over blocks of 64 keys with a running maximum, as FlashAttention has it."""
    _, total, mixed = passed(asked.scores, values)
    return np.asarray(mixed / total)


@as_attending
def attention_wide(asked: Scored, values: Array) -> Array:
    """Two passes in float64, rounded at the end."""
    wide = Scored(asked.q.astype(np.float64), asked.k.astype(np.float64), asked.scale, asked.bias, asked.kept)
    return softened(wide.scores, values.astype(np.float64))


@as_attending
def attention_naive(asked: Scored, values: Array) -> Array:
    """exp of the scores as they are: inf/inf above the overflow edge of exp, 0/0 far below 0."""
    terms = np.exp(asked.scores)
    return np.asarray((terms @ values) / terms.sum(axis=-1, keepdims=True))


def _log_sum(scores: Array) -> Array:
    if not scores.shape[-1]:
        return np.full(scores.shape[:-1], -np.inf)
    peak = scores.max(axis=-1, keepdims=True)
    safe = np.where(np.isinf(peak), 0, peak).astype(scores.dtype)
    return np.asarray((safe + np.log(np.exp(scores - safe).sum(axis=-1, keepdims=True)))[..., 0])


@as_attention_lse
def attention_lse_stable(asked: Scored) -> Array:
    """m + log sum exp(z - m)."""
    return _log_sum(asked.scores)


@as_attention_lse
def attention_lse_blocks(asked: Scored) -> Array:
    """From the running maximum and the sum of one pass over blocks of 64 keys."""
    peak, total, _ = passed(asked.scores, np.zeros((*asked.k.shape[:-1], 1), asked.q.dtype))
    return np.asarray(np.where(np.isinf(peak), peak, peak + np.log(total))[..., 0])


@as_attention_lse
def attention_lse_wide(asked: Scored) -> Array:
    """In float64, rounded at the end."""
    wide = Scored(asked.q.astype(np.float64), asked.k.astype(np.float64), asked.scale, asked.bias, asked.kept)
    return _log_sum(wide.scores)


@as_attention_lse
def attention_lse_naive(asked: Scored) -> Array:
    """log sum exp of the scores as they are."""
    return np.asarray(np.log(np.exp(asked.scores).sum(axis=-1)))


class MergeCall(Protocol):
    """``f(a_out, a_lse, b_out, b_lse)``."""

    def __call__(self, a_out: ArrayLike, a_lse: ArrayLike, b_out: ArrayLike, b_lse: ArrayLike) -> Array: ...


def as_merge(kernel: Callable[[Array, Array, Array, Array], Array]) -> MergeCall:
    """The kernel, of results [.., R, m] and logsumexps [.., R, 1] in the working precision, with the operation's signature."""

    def call(a_out: ArrayLike, a_lse: ArrayLike, b_out: ArrayLike, b_lse: ArrayLike) -> Array:
        given = np.asarray(a_out)
        number = working_dtype(given.dtype)
        a, b = given.astype(number), np.asarray(b_out).astype(number)
        la, lb = (np.asarray(value).astype(number)[..., None] for value in (a_lse, b_lse))
        with np.errstate(all="ignore"):
            return np.asarray(kernel(a, la, b, lb)).astype(given.dtype)

    return named_after(kernel, call)


def merged(a: Array, la: Array, b: Array, lb: Array) -> Array:
    """Weights exp(l - m) about the larger logsumexp, which may be -inf."""
    peak = np.maximum(la, lb)
    safe = np.where(np.isneginf(peak), 0, peak).astype(a.dtype)
    wa, wb = np.exp(la - safe), np.exp(lb - safe)
    return np.asarray((wa * a + wb * b) / (wa + wb))


@as_merge
def merge_states_stable(a: Array, la: Array, b: Array, lb: Array) -> Array:
    """About the larger logsumexp; two empty parts give NaN."""
    return merged(a, la, b, lb)


@as_merge
def merge_states_logsumexp(a: Array, la: Array, b: Array, lb: Array) -> Array:
    """Weights from the softmax of the two, divided first."""
    peak = np.maximum(la, lb)
    wa, wb = np.exp(la - peak), np.exp(lb - peak)
    total = wa + wb
    return np.asarray(a * (wa / total) + b * (wb / total))


@as_merge
def merge_states_wide(a: Array, la: Array, b: Array, lb: Array) -> Array:
    """In float64, rounded at the end."""
    return merged(*(value.astype(np.float64) for value in (a, la, b, lb)))


@as_merge
def merge_states_naive(a: Array, la: Array, b: Array, lb: Array) -> Array:
    """exp of the logsumexps as they are: inf/inf above the overflow edge of exp, 0/0 far below 0."""
    wa, wb = np.exp(la), np.exp(lb)
    return np.asarray((wa * a + wb * b) / (wa + wb))
