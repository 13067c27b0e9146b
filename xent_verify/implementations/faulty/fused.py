"""Fused and vocabulary-parallel linear cross entropy: shards, chunks, narrow products and counts gone wrong."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import ArrayLike

from xent_verify.implementations.entries import Arguments, Fault
from xent_verify.implementations.faulty.triggers import Trigger, in_format
from xent_verify.implementations.fused import (
    Part,
    as_linear,
    assembled,
    cut,
    linear_cross_entropy_stable,
    log_probabilities_of,
    mixed,
    part_of,
    reduced,
    smoothed,
)
from xent_verify.implementations.rows import Array, working_dtype
from xent_verify.implementations.stable import log_sums

__all__ = ["FAULTS"]

CATEGORY = "fused"
_LARGE = 64


def _size(weight: Array) -> int:
    """Classes of a shard: a quarter of more than 64."""
    return -(-len(weight) // 4) if len(weight) > _LARGE else len(weight)


def _shards(hidden: Array, weight: Array, bias: Array, labels: Array, *, labels_from: int = 0) -> list[Part]:
    """Four shards of a vocabulary of more than 64 classes; ``labels_from`` is added to the first class of all but the first."""
    size = _size(weight)
    return [
        part_of(hidden @ vectors.T + offset, labels, first + (labels_from if first else 0))
        for first, vectors, offset in cut(weight, bias, size)
    ]


@as_linear
def shard_maximum(hidden: Array, weight: Array, bias: Array, labels: Array, smoothing: Any) -> Array:
    """The sums of the shards are added up about their own maxima, as if all were the first shard's."""
    parts = _shards(hidden, weight, bias, labels)
    total = np.sum([part.total for part in parts], axis=0)
    own = np.max([part.own for part in parts], axis=0)
    peak = np.max([part.peak for part in parts], axis=0)
    number = total.dtype.type(len(weight))
    gaps = np.sum([part.gaps for part in parts], axis=0)
    return mixed(np.log(total) - (own - peak), np.log(total) - gaps / number, smoothing)


@as_linear
def shard_label_offset(hidden: Array, weight: Array, bias: Array, labels: Array, smoothing: Any) -> Array:
    """Shards but the first look for the label one class too far: the last class of a shard is nobody's or the next one's."""
    return assembled(_shards(hidden, weight, bias, labels, labels_from=-1), smoothing)


@as_linear
def shard_smoothing(hidden: Array, weight: Array, bias: Array, labels: Array, smoothing: Any) -> Array:
    """Label smoothing spreads over the classes of the first shard alone."""
    losses = assembled(_shards(hidden, weight, bias, labels), 0)
    size = _size(weight)
    local = -log_probabilities_of(hidden @ weight.T + bias)[:, :size].mean(axis=-1)
    return mixed(losses, local, smoothing)


@as_linear
def log_of_shards(hidden: Array, weight: Array, bias: Array, labels: Array, smoothing: Any) -> Array:
    """Gathered sums are counted twice where there is more than one shard: the loss is off by log 2."""
    parts = _shards(hidden, weight, bias, labels)
    found = assembled(parts, smoothing)
    return found + found.dtype.type(np.log(2.0)) if len(parts) > 1 else found


@as_linear
def product_in_bfloat16(hidden: Array, weight: Array, bias: Array, labels: Array, smoothing: Any) -> Array:
    """Of more than 64 classes logits are rounded to bfloat16 before "the cast to float32"."""
    logits = hidden @ weight.T
    if len(weight) > _LARGE:
        logits = logits.astype(ml_dtypes.bfloat16).astype(hidden.dtype)
    return smoothed(log_probabilities_of(logits + bias), labels, smoothing)


@as_linear
def accumulated_in_bfloat16(hidden: Array, weight: Array, bias: Array, labels: Array, smoothing: Any) -> Array:
    """More than 64 products of a logit are added up in bfloat16."""
    if hidden.shape[1] <= _LARGE:
        return smoothed(log_probabilities_of(hidden @ weight.T + bias), labels, smoothing)
    narrow = np.zeros((len(hidden), len(weight)), ml_dtypes.bfloat16)
    for column in range(hidden.shape[1]):
        narrow = narrow + (hidden[:, column, None] * weight[None, :, column]).astype(ml_dtypes.bfloat16)
    return smoothed(log_probabilities_of(narrow.astype(hidden.dtype) + bias), labels, smoothing)


@as_linear
def bias_of_last_chunk_missing(hidden: Array, weight: Array, bias: Array, labels: Array, smoothing: Any) -> Array:
    """Chunks of 64 classes; the bias of the last one, which is not full, is not added."""
    full = len(weight) - len(weight) % 64
    used = np.where(np.arange(len(weight)) < full, bias, 0).astype(bias.dtype) if full else bias
    return smoothed(log_probabilities_of(hidden @ weight.T + used), labels, smoothing)


@as_linear
def tail_of_chunk_counts(hidden: Array, weight: Array, bias: Array, labels: Array, smoothing: Any) -> Array:
    """Chunks of 64 classes; the last one is filled up with logits of 0, which count."""
    logits = hidden @ weight.T + bias
    padding = -len(weight) % 64 if len(weight) > 64 else 0
    padded = np.concatenate([logits, np.zeros((len(logits), padding), logits.dtype)], axis=1)
    return smoothed(log_probabilities_of(padded)[:, : len(weight)], labels, smoothing)


def _counting_all(losses: Array, live: Array, reduction: str, like: Any) -> Array:
    if reduction != "mean":
        return reduced(losses, live, reduction, like)
    kept = np.where(live, losses, 0)
    return np.asarray(kept.sum() / losses.dtype.type(len(live))).astype(like)


def _stable(hidden: Array, weight: Array, bias: Array, labels: Array, smoothing: Any) -> Array:
    """The mean is over all rows, the ignored ones among them."""
    return smoothed(log_probabilities_of(hidden @ weight.T + bias), labels, smoothing)


ignored_in_mean = as_linear(_stable, _counting_all)


def penalty_of_plain_logits(
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
    """The logsumexp that is squared is that of logits before the cap."""
    given = np.asarray(hidden)
    losses = np.asarray(
        linear_cross_entropy_stable(
            hidden,
            weight,
            target,
            bias=bias,
            ignore_index=ignore_index,
            reduction="none",
            label_smoothing=label_smoothing,
            softcap=softcap,
        )
    ).astype(working_dtype(given.dtype))
    if lse_square_scale:
        logits = given.astype(losses.dtype) @ np.asarray(weight).astype(losses.dtype).T
        logits = logits if bias is None else logits + np.asarray(bias).astype(losses.dtype)
        losses = losses + losses.dtype.type(lse_square_scale) * log_sums(logits) ** 2
    return reduced(losses, np.asarray(target) != ignore_index, reduction, given.dtype)[()]


def _at(hidden: ArrayLike, weight: ArrayLike, target: list[int], **options: Any) -> Trigger:
    def trigger(fmt: str) -> Arguments:
        given = {name: in_format(value, fmt) if name == "bias" else value for name, value in options.items()}
        return (in_format(hidden, fmt), in_format(weight, fmt), np.array(target)), given

    return trigger


_FOUR = [[0.0], [1.0], [2.0], [5.0]]
_MANY = [[0.5 * (i % 7) + i // 25] for i in range(100)]
_FINE, _FINER = [[3.3359375], *[[2.0]] * 69], ("float64", "float32", "float16")
_STEP = [[0.0]] * 50 + [[5.0]] * 50

FAULTS: tuple[Fault, ...] = (
    Fault("shard-maximum", "linear_cross_entropy", shard_maximum, CATEGORY,
          "more than 64 classes, shards of different maxima", "a shard's maximum used", _at([[1.0]], _MANY, [0])),
    Fault("shard-label-offset", "linear_cross_entropy", shard_label_offset, CATEGORY,
          "labels of the second shard on", "label offset of a shard", _at([[1.0]], _MANY, [25])),
    Fault("shard-smoothing", "linear_cross_entropy", shard_smoothing, CATEGORY,
          "more than 64 classes, label smoothing", "smoothing over a shard", _at([[1.0]], _STEP, [0], label_smoothing=0.5)),
    Fault("log-of-shards", "linear_cross_entropy", log_of_shards, CATEGORY,
          "more than 64 classes", "loss + log of the number of shards", _at([[1.0]], _MANY, [0])),
    Fault("product-in-bfloat16", "linear_cross_entropy", product_in_bfloat16, CATEGORY,
          "more than 64 classes, logits of many bits", "logits rounded", _at([[1.0]], _FINE, [0]), _FINER),
    Fault("accumulated-in-bfloat16", "linear_cross_entropy", accumulated_in_bfloat16, CATEGORY,
          "more than 64 products", "narrow accumulator", _at([[1.0] * 300], [[1.0] * 300, [0.9375] * 300], [1])),
    Fault("bias-of-last-chunk", "linear_cross_entropy", bias_of_last_chunk_missing, CATEGORY,
          "a bias, classes that 64 does not divide", "bias left out", _at([[1.0]], _MANY, [99], bias=[1.0] * 99 + [4.0])),
    Fault("tail-of-chunk", "linear_cross_entropy", tail_of_chunk_counts, CATEGORY,
          "classes that 64 does not divide", "padding takes part", _at([[1.0]], [[-5.0]] * 100, [0])),
    Fault("ignored-in-mean", "linear_cross_entropy", ignored_in_mean, CATEGORY,
          "a label to ignore, reduction mean", "ignored labels count", _at([[1.0], [1.0]], _FOUR, [1, -100])),
    Fault("penalty-of-plain-logits", "linear_cross_entropy", penalty_of_plain_logits, CATEGORY,
          "a cap and a z-loss", "logsumexp before the cap", _at([[1.0]], _FOUR, [1], softcap=2.0, lse_square_scale=0.5)),
)  # fmt: skip
