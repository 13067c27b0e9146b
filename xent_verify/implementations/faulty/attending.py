"""Attention, its logsumexp, merges of its parts: what kernels of blocks, casts and masks make go wrong."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import ArrayLike

from xent_verify.implementations.attending import (
    Scored,
    as_attending,
    as_attention_lse,
    as_merge,
    merged,
    passed,
    softened,
)
from xent_verify.implementations.entries import Arguments, Fault
from xent_verify.implementations.faulty.triggers import Trigger, in_format, rising
from xent_verify.implementations.rows import Array

__all__ = ["FAULTS"]

CATEGORY = "attending"
_TILE = 64
"""Keys of one tile: longer rows take another path."""


def _blocks(scores: Array, values: Array, start: float, *, rescaled: bool = True, tau: float = 0.0) -> Array:
    """One pass over blocks of 64 keys from a running maximum ``start``, which grows by more than ``tau`` at a time."""
    peak = np.full((*scores.shape[:-1], 1), start, scores.dtype)
    total, mixed = np.zeros_like(peak), np.zeros((*scores.shape[:-1], values.shape[-1]), scores.dtype)
    for first in range(0, scores.shape[-1], 64):
        part = scores[..., first : first + 64]
        top = np.maximum(peak, part.max(axis=-1, keepdims=True))
        new = np.where(top - peak > tau, top, peak).astype(scores.dtype)
        kept = np.exp(peak - new)
        terms = np.exp(part - new)
        if tau:  # what a narrow P holds of terms above 1
            terms = np.minimum(terms, 448.0).astype(scores.dtype)
        total = total * kept + terms.sum(axis=-1, keepdims=True)
        mixed = (mixed * kept if rescaled else mixed) + terms @ values[..., first : first + 64, :]
        peak = new
    return np.asarray(mixed / total)


@as_attending
def attention_finite_start(asked: Scored, values: Array) -> Array:
    """The running maximum begins at -5e4: rows of lower scores add up to 0."""
    return _blocks(asked.scores, values, -5e4)


@as_attending
def attention_not_rescaled(asked: Scored, values: Array) -> Array:
    """The sum is rescaled when the maximum grows, the weighted sum is not."""
    return _blocks(asked.scores, values, -np.inf, rescaled=False)


@as_attending
def attention_lazy_rescale(asked: Scored, values: Array) -> Array:
    """The maximum follows only when it grows by more than 8, and terms above 448 are cut to what the narrow P holds."""
    return _blocks(asked.scores, values, -np.inf, tau=8.0)


@as_attending
def attention_p_in_e4m3(asked: Scored, values: Array) -> Array:
    """Beyond 64 keys P is rounded to float8_e4m3fn without a scale, the sum is not: small weights vanish from the numerator
    alone."""
    scores = asked.scores
    if scores.shape[-1] <= _TILE:
        return softened(scores, values)
    terms = np.exp(scores - scores.max(axis=-1, keepdims=True))
    narrow = terms.astype(ml_dtypes.float8_e4m3fn).astype(terms.dtype)
    return np.asarray((narrow @ values) / terms.sum(axis=-1, keepdims=True))


@as_attending
def attention_bias_scaled(asked: Scored, values: Array) -> Array:
    """The bias is added to the products before the scale."""
    return softened(asked.masked((asked.products + asked.bias) * asked.scale), values)


@as_attending
def attention_finite_mask(asked: Scored, values: Array) -> Array:
    """Masked scores are -1e4: rows of lower scores give their mass to masked keys."""
    scores = np.where(asked.kept, asked.products * asked.scale + asked.bias, -1e4)
    return softened(scores.astype(asked.q.dtype), values)


@as_attending
def attention_tail_counts(asked: Scored, values: Array) -> Array:
    """Keys beyond 64 are padded to a multiple of 64 with scores of 0, whose terms stay in the sum."""
    scores = asked.scores
    padding = -scores.shape[-1] % 64 if scores.shape[-1] > 64 else 0
    wide = np.concatenate([scores, np.zeros((*scores.shape[:-1], padding), scores.dtype)], axis=-1)
    peak = wide.max(axis=-1, keepdims=True)
    return np.asarray((np.exp(scores - peak) @ values) / np.exp(wide - peak).sum(axis=-1, keepdims=True))


@as_attending
def attention_products_in_bfloat16(asked: Scored, values: Array) -> Array:
    """Beyond 64 keys scores are rounded to bfloat16 before the softmax."""
    products = asked.products
    narrow = products.astype(ml_dtypes.bfloat16).astype(asked.q.dtype) if products.shape[-1] > _TILE else products
    return softened(asked.masked(narrow * asked.scale + asked.bias), values)


@as_attending
def attention_causal_from_the_left(asked: Scored, values: Array) -> Array:
    """Row i sees keys up to i whatever the number of keys: queries are taken for the first, not for the last ones."""
    rows, keys = asked.q.shape[-2], asked.k.shape[-2]
    last = np.tri(rows, keys, keys - rows, dtype=np.bool_)
    whole = np.broadcast_to(asked.kept, (*asked.q.shape[:-1], keys))
    kept = np.tri(rows, keys, dtype=np.bool_) if keys > rows > 1 and not whole[..., ~last].any() else whole
    return softened(np.where(kept, asked.scores, -np.inf).astype(asked.q.dtype), values)


@as_attention_lse
def attention_lse_empty_is_infinite(asked: Scored) -> Array:
    """A row without a key has +inf, so that exp(x - lse) is 0."""
    peak, total, _ = passed(asked.scores, np.zeros((*asked.k.shape[:-1], 1), asked.q.dtype))
    return np.asarray(np.where(total == 0, np.inf, peak + np.log(total))[..., 0])


@as_attention_lse
def attention_lse_in_base_2(asked: Scored) -> Array:
    """Beyond 64 keys the maximum is given back in nats, the logarithm of the sum in base 2."""
    peak, total, _ = passed(asked.scores, np.zeros((*asked.k.shape[:-1], 1), asked.q.dtype))
    logarithm = np.log2 if asked.k.shape[-2] > _TILE else np.log
    return np.asarray((peak + logarithm(total))[..., 0])


@as_attention_lse
def attention_lse_epsilon(asked: Scored) -> Array:
    """1e-6 inside the logarithm of a sum without a shift of low scores."""
    scores = asked.scores
    peak = np.maximum(scores.max(axis=-1, keepdims=True), 0)
    return np.asarray((peak + np.log(np.exp(scores - peak).sum(axis=-1, keepdims=True) + 1e-6))[..., 0])


@as_attention_lse
def attention_lse_unscaled(asked: Scored) -> Array:
    """The maximum is that of the products before they are scaled, and the terms are too."""
    peak = asked.masked(asked.products).max(axis=-1, keepdims=True)
    return np.asarray((peak * asked.scale + np.log(np.exp(asked.scores - peak).sum(axis=-1, keepdims=True)))[..., 0])


@as_merge
def merge_states_unshifted(a: Array, la: Array, b: Array, lb: Array) -> Array:
    """Weights about the first part's logsumexp: a second one far above it overflows, an empty first part is inf - inf."""
    wb = np.exp(lb - la)
    return np.asarray((a + wb * b) / (1 + wb))


@as_merge
def merge_states_clamped(a: Array, la: Array, b: Array, lb: Array) -> Array:
    """-inf is replaced by -1e4: beside logsumexps as low an empty part counts."""
    low = a.dtype.type(-1e4)
    return merged(a, np.where(np.isneginf(la), low, la), b, np.where(np.isneginf(lb), low, lb))


@as_merge
def merge_states_mean(a: Array, la: Array, b: Array, lb: Array) -> Array:
    """Results of equal logsumexps are averaged, others are taken from the larger one beyond a gap of 10."""
    near = np.abs(la - lb) < 10
    return np.where(near, merged(a, la, b, lb), np.where(la > lb, a, b))


@as_merge
def merge_states_clipped(a: Array, la: Array, b: Array, lb: Array) -> Array:
    """Logsumexps are clipped to 80 "against overflow" before exp: parts beyond count alike."""
    wa, wb = (np.exp(np.minimum(value, 80)) for value in (la, lb))
    peak = np.maximum(la, lb)
    return np.where(peak > 80, (wa * a + wb * b) / (wa + wb), merged(a, la, b, lb))


def _on(q: ArrayLike, k: ArrayLike, v: ArrayLike | None = None, **options: Any) -> Trigger:
    def trigger(fmt: str) -> Arguments:
        arrays = [q, k] if v is None else [q, k, v]
        given = {name: in_format(value, fmt) if name == "bias" else value for name, value in options.items()}
        return tuple(in_format(array, fmt) for array in arrays), given

    return trigger


def _keys(*scores: float, v: bool = True, **options: Any) -> Trigger:
    """A query [1] against keys with these scores; values 0, 1, 0, 1, ... and 1."""
    k = [[score] for score in scores]
    return _on([[1.0]], k, [[float(i % 2), 1.0] for i in range(len(scores))] if v else None, **options)


def _merge(a: float, la: float, b: float, lb: float) -> Trigger:
    return lambda fmt: (tuple(in_format(value, fmt) for value in ([[a]], [la], [[b]], [lb])), {})


_WIDE = ("float64", "float32")
_NONE = np.array([[False, False]])

FAULTS: tuple[Fault, ...] = (
    Fault("finite-start", "attention", attention_finite_start, CATEGORY,
          "all scores below -5e4", "the maximum begins at a finite number", _keys(-6e4, -6e4)),
    Fault("not-rescaled", "attention", attention_not_rescaled, CATEGORY,
          "a larger score beyond the first 64", "accumulator not rescaled", _keys(*rising(100, 5.0))),
    Fault("lazy-rescale", "attention", attention_lazy_rescale, CATEGORY,
          "a score 6.2 to 8 above the first 64", "narrow P overflows", _keys(*rising(100, 7.5))),
    Fault("p-in-e4m3", "attention", attention_p_in_e4m3, CATEGORY,
          "more than 64 keys, small weights", "P cast without a scale", _keys(0.0, *[-8.0] * 80), _WIDE),
    Fault("bias-scaled", "attention", attention_bias_scaled, CATEGORY,
          "a bias and a scale", "bias before the scale", _keys(0.0, 1.0, scale=0.5, bias=[[0.0, 2.0]])),
    Fault("finite-mask", "attention", attention_finite_mask, CATEGORY,
          "kept scores below -1e4", "a finite number for a mask", _keys(-2e4, 0.0, mask=np.array([[True, False]]))),
    Fault("tail-counts", "attention", attention_tail_counts, CATEGORY,
          "more than 64 keys, no multiple of 64", "padding takes part", _keys(*rising(100, 1.0))),
    Fault("products-in-bfloat16", "attention", attention_products_in_bfloat16, CATEGORY,
          "more than 64 keys", "scores rounded", _keys(*rising(70, 3.3359375, 2.0)), ("float64", "float32", "float16")),
    Fault("causal-from-the-left", "attention", attention_causal_from_the_left, CATEGORY,
          "causal, more keys than rows", "mask of another corner",
          _on([[1.0], [1.0]], [[0.0], [1.0], [2.0]], [[1.0], [2.0], [4.0]], causal=True)),
    Fault("empty-is-infinite", "attention_lse", attention_lse_empty_is_infinite, CATEGORY,
          "a row without a key", "+inf for -inf", _keys(0.0, 1.0, v=False, mask=_NONE)),
    Fault("in-base-2", "attention_lse", attention_lse_in_base_2, CATEGORY,
          "more than 64 keys", "log2 for log", _keys(*[0.0] * 70, v=False)),
    Fault("epsilon", "attention_lse", attention_lse_epsilon, CATEGORY,
          "low scores", "epsilon inside the log", _keys(-30.0, -31.0, v=False)),
    Fault("unscaled", "attention_lse", attention_lse_unscaled, CATEGORY,
          "a scale", "maximum before the scale", _keys(0.0, 4.0, v=False, scale=0.5)),
    Fault("unshifted", "merge_states", merge_states_unshifted, CATEGORY,
          "an empty first part", "inf - inf", _merge(0.0, -np.inf, 1.5, 2.0)),
    Fault("clamped", "merge_states", merge_states_clamped, CATEGORY,
          "an empty part, the other below -1e4", "a finite number for -inf", _merge(0.0, -np.inf, 1.5, -2e4)),
    Fault("gap-of-10", "merge_states", merge_states_mean, CATEGORY,
          "logsumexps more than 10 apart", "the smaller part is dropped", _merge(1000.0, 0.0, 1.0, 10.5)),
    Fault("clipped", "merge_states", merge_states_clipped, CATEGORY,
          "logsumexps above 80", "clipped logsumexps", _merge(1.0, 100.0, 2.0, 90.0)),
)  # fmt: skip
