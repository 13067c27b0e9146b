"""Cross entropy of hidden W^T + bias without all of its logits in memory: by chunks of the vocabulary, by shards of it.

hidden [N, n], weight [V, n], labels [N], same dtype out; formats below float32 are computed in float32 and rounded once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from xent_verify.implementations.rows import Array, named_after, working_dtype
from xent_verify.implementations.stable import log_sums

__all__ = [
    "LinearCall",
    "LinearKernel",
    "Part",
    "as_linear",
    "assembled",
    "cut",
    "joined",
    "linear_cross_entropy_chunked",
    "linear_cross_entropy_lse_minus_logit",
    "linear_cross_entropy_naive",
    "linear_cross_entropy_sharded",
    "linear_cross_entropy_stable",
    "linear_cross_entropy_wide",
    "log_probabilities_of",
    "mixed",
    "part_of",
    "reduced",
    "smoothed",
]

_CHUNK, _SHARDS = 128, 4


class LinearCall(Protocol):
    """``f(hidden, weight, target, *, bias=None, ignore_index=-100, reduction="mean", label_smoothing=0.0, softcap=None,
    lse_square_scale=0.0)``."""

    def __call__(
        self,
        hidden: ArrayLike,
        weight: ArrayLike,
        target: ArrayLike,
        *,
        bias: ArrayLike | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        softcap: float | None = None,
        lse_square_scale: float = 0.0,
    ) -> Array: ...


LinearKernel = Callable[[Array, Array, Any, Array, Any], Array]
"""hidden [N, n], weight [V, n] and bias [V] in the working precision, labels [N] in [0, V), smoothing -> losses [N]."""


def reduced(losses: Array, live: Array, reduction: str, like: Any) -> Array:
    """Losses of the live rows, 0 for the others; their sum; or that over the number of live rows."""
    kept = np.where(live, losses, 0).astype(losses.dtype)
    if reduction == "none":
        return kept.astype(like)
    total = kept.sum()
    found = total if reduction == "sum" else total / losses.dtype.type(np.count_nonzero(live))
    return np.asarray(found).astype(like)


def as_linear(kernel: LinearKernel, reduce: Callable[[Array, Array, str, Any], Array] = reduced) -> LinearCall:
    """The kernel with the operation's signature."""

    def call(
        hidden: ArrayLike,
        weight: ArrayLike,
        target: ArrayLike,
        *,
        bias: ArrayLike | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        softcap: float | None = None,
        lse_square_scale: float = 0.0,
    ) -> Array:
        given, labels = np.asarray(hidden), np.asarray(target)
        number = working_dtype(given.dtype)
        live = labels != ignore_index
        offset = np.zeros(len(np.asarray(weight)), number) if bias is None else np.asarray(bias).astype(number)
        with np.errstate(all="ignore"):
            x, vectors = given.astype(number), np.asarray(weight).astype(number)
            if softcap is not None:
                x, vectors, offset = _capped(x @ vectors.T + offset, softcap)
            losses = kernel(
                x, vectors, offset, np.where(live, labels, 0).astype(np.int64), number.type(label_smoothing)
            )
            if lse_square_scale:
                sums = log_sums(x @ vectors.T + offset).astype(losses.dtype)
                losses = losses + losses.dtype.type(lse_square_scale) * sums**2
            return reduce(losses, live, reduction, given.dtype)[()]

    return named_after(kernel, call)


def _capped(logits: Array, softcap: float) -> tuple[Array, Array, Array]:
    """Capped logits, which are finite, as hidden states whose products with the unit vectors they are."""
    capped = softcap * np.tanh(logits / logits.dtype.type(softcap))
    classes = logits.shape[-1]
    return capped.astype(logits.dtype), np.eye(classes, dtype=logits.dtype), np.zeros(classes, logits.dtype)


def log_probabilities_of(logits: Array) -> Array:
    """Shifted log-softmax."""
    gaps = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(gaps - np.log(np.exp(gaps).sum(axis=-1, keepdims=True)))


def mixed(own: Array, mean: Array, smoothing: Any) -> Array:
    """(1 - e) own + e mean; a weight of 0 leaves its part out, infinite or not."""
    if not smoothing:
        return own
    return np.asarray((1 - smoothing) * own + smoothing * mean if smoothing < 1 else mean)


def smoothed(log_p: Array, labels: Array, smoothing: Any) -> Array:
    """-(1 - e) log p_t - e / V sum log p."""
    own = -np.take_along_axis(log_p, labels[:, None], axis=-1)[:, 0]
    return mixed(own, -log_p.sum(axis=-1) / log_p.dtype.type(log_p.shape[-1]), smoothing)


@as_linear
def linear_cross_entropy_stable(hidden: Array, weight: Array, bias: Array, labels: Array, smoothing: Any) -> Array:
    """All logits, then their log-softmax."""
    return smoothed(log_probabilities_of(hidden @ weight.T + bias), labels, smoothing)


@dataclass(frozen=True, slots=True)
class Part:
    """What a part of the vocabulary knows of each row: its maximum, the sum of exp about it, the label's logit (-inf: it is
    another part's), the sum of x - maximum, the number of classes."""

    peak: Array
    total: Array
    own: Array
    gaps: Array
    classes: int


def part_of(logits: Array, labels: Array, first: int) -> Part:
    """The part whose first class is ``first``."""
    peak = logits.max(axis=-1)
    gaps = logits - np.where(np.isneginf(peak), 0, peak)[:, None].astype(logits.dtype)
    place = labels - first
    inside = (place >= 0) & (place < logits.shape[-1])
    own = np.take_along_axis(logits, np.where(inside, place, 0)[:, None], axis=-1)[:, 0]
    own = np.where(inside, own, -np.inf).astype(logits.dtype)
    return Part(peak, np.exp(gaps).sum(axis=-1), own, gaps.sum(axis=-1), logits.shape[-1])


def assembled(parts: list[Part], smoothing: Any) -> Array:
    """Losses from all parts: sums rescaled to the largest maximum."""
    peak = np.max([part.peak for part in parts], axis=0)
    total = np.sum([part.total * np.exp(part.peak - peak) for part in parts], axis=0)
    own = np.max([part.own for part in parts], axis=0) - peak
    number = total.dtype.type
    gaps = np.sum([part.gaps + number(part.classes) * (part.peak - peak) for part in parts], axis=0)
    log_total = np.log(total)
    return mixed(log_total - own, log_total - gaps / number(sum(part.classes for part in parts)), smoothing)


def cut(weight: Array, bias: Array, size: int) -> list[tuple[int, Array, Array]]:
    """(first class, weight, bias) of parts of the vocabulary."""
    return [(k, weight[k : k + size], bias[k : k + size]) for k in range(0, len(weight), size)]


@as_linear
def linear_cross_entropy_chunked(hidden: Array, weight: Array, bias: Array, labels: Array, smoothing: Any) -> Array:
    """Chunks of 128 classes one after the other, a running maximum and sum."""
    whole: Part | None = None
    for first, vectors, offset in cut(weight, bias, _CHUNK):
        new = part_of(hidden @ vectors.T + offset, labels, first)
        whole = new if whole is None else joined(whole, new)
    return assembled([] if whole is None else [whole], smoothing)


def joined(one: Part, other: Part) -> Part:
    """Two parts as one."""
    peak = np.maximum(one.peak, other.peak)
    safe = np.where(np.isneginf(peak), 0, peak).astype(peak.dtype)
    number = peak.dtype.type
    total = one.total * np.exp(one.peak - safe) + other.total * np.exp(other.peak - safe)
    moved = number(one.classes) * (one.peak - safe) + number(other.classes) * (other.peak - safe)
    own = np.maximum(one.own, other.own)
    return Part(peak, total, own, one.gaps + other.gaps + moved, one.classes + other.classes)


@as_linear
def linear_cross_entropy_sharded(hidden: Array, weight: Array, bias: Array, labels: Array, smoothing: Any) -> Array:
    """Four shards of the vocabulary, each with its own maximum and sum: Megatron's vocabulary-parallel cross entropy."""
    size = max(-(-len(weight) // _SHARDS), 1)
    shards = [part_of(hidden @ vectors.T + offset, labels, first) for first, vectors, offset in cut(weight, bias, size)]
    return assembled(shards, smoothing)


@as_linear
def linear_cross_entropy_wide(hidden: Array, weight: Array, bias: Array, labels: Array, smoothing: Any) -> Array:
    """In float64, rounded at the end."""
    logits = hidden.astype(np.float64) @ weight.T.astype(np.float64) + bias
    return smoothed(log_probabilities_of(logits), labels, smoothing)


@as_linear
def linear_cross_entropy_lse_minus_logit(
    hidden: Array, weight: Array, bias: Array, labels: Array, smoothing: Any
) -> Array:
    """logsumexp - x_t: with a common offset c both are about c, and the difference has an absolute error of about |c| u."""
    logits = hidden @ weight.T + bias
    peak = logits.max(axis=-1)
    log_sum = peak + np.log(np.exp(logits - peak[:, None]).sum(axis=-1))
    own = log_sum - np.take_along_axis(logits, labels[:, None], axis=-1)[:, 0]
    return mixed(own, log_sum - logits.mean(axis=-1), smoothing)


@as_linear
def linear_cross_entropy_naive(hidden: Array, weight: Array, bias: Array, labels: Array, smoothing: Any) -> Array:
    """-log of a softmax without a shift."""
    terms = np.exp(hidden @ weight.T + bias)
    return smoothed(np.log(terms / terms.sum(axis=-1, keepdims=True)), labels, smoothing)
