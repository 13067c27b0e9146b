"""Gates of mixtures of experts, Jensen-Shannon divergences, losses of log-probabilities: what goes wrong in them alone."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import ArrayLike

from xent_verify.implementations.entries import Arguments, Fault
from xent_verify.implementations.faulty.triggers import Trigger, in_format, loss_on, on, rising
from xent_verify.implementations.gates import as_js, as_nll, as_top, divergence, largest, weighted
from xent_verify.implementations.rows import Array
from xent_verify.implementations.stable import log_probabilities, probabilities

__all__ = ["FAULTS"]

CATEGORY = "gates"
_TILE = 64


@as_top
def softmax_twice(rows: Array, k: int, renormalise: bool) -> Array:
    """Renormalised by one more softmax over the weights."""
    top = largest(probabilities(rows), k)
    return probabilities(top) if renormalise else top


@as_top
def softmax_of_chosen(rows: Array, k: int, renormalise: bool) -> Array:
    """Of more than 64 experts the softmax is that of the chosen ones, renormalised or not."""
    return probabilities(largest(rows, k)) if rows.shape[-1] > _TILE or renormalise else largest(probabilities(rows), k)


@as_top
def epsilon_in_sum(rows: Array, k: int, renormalise: bool) -> Array:
    """Renormalised by the sum + 1e-3."""
    top = largest(probabilities(rows), k)
    return np.asarray(top / (top.sum(axis=-1, keepdims=True) + top.dtype.type(1e-3))) if renormalise else top


@as_top
def weights_in_bfloat16(rows: Array, k: int, renormalise: bool) -> Array:
    """Of more than 64 experts weights are rounded to bfloat16 before the largest are chosen."""
    p = probabilities(rows)
    top = largest(p.astype(ml_dtypes.bfloat16).astype(p.dtype) if rows.shape[-1] > _TILE else p, k)
    return top / top.sum(axis=-1, keepdims=True) if renormalise else top


@as_top
def largest_of_first_tile(rows: Array, k: int, renormalise: bool) -> Array:
    """The largest are looked for among the first 64 experts, or all where k is larger."""
    p = probabilities(rows)
    top = largest(p[:, :_TILE] if k <= _TILE else p, k)
    return top / top.sum(axis=-1, keepdims=True) if renormalise else top


@as_js
def clamped_probabilities(p_logits: Array, q_logits: Array) -> Array:
    """Log-probabilities are not below -16: rare classes count for more than they have."""
    log_p, log_q = (np.maximum(log_probabilities(x), -16) for x in (p_logits, q_logits))
    log_m = np.logaddexp(log_p, log_q) - p_logits.dtype.type(np.log(2.0))
    return np.asarray((divergence(log_p, log_m) + divergence(log_q, log_m)) / 2)


@as_js
def masked_class(p_logits: Array, q_logits: Array) -> Array:
    """A class that neither has is -inf - (-inf)."""
    log_p, log_q = log_probabilities(p_logits), log_probabilities(q_logits)
    log_m = np.logaddexp(log_p, log_q) - p_logits.dtype.type(np.log(2.0))
    both = np.exp(log_p) * (log_p - log_m) + np.exp(log_q) * (log_q - log_m)
    return np.asarray(both.sum(axis=-1) / 2)


@as_js
def nan_is_zero(p_logits: Array, q_logits: Array) -> Array:
    """0 log 0 is repaired by replacing NaN with 0, and with it a NaN among the logits."""
    log_p, log_q = log_probabilities(p_logits), log_probabilities(q_logits)
    log_m = np.logaddexp(log_p, log_q) - p_logits.dtype.type(np.log(2.0))
    both = np.exp(log_p) * (log_p - log_m) + np.exp(log_q) * (log_q - log_m)
    return np.asarray(np.nan_to_num(both).sum(axis=-1) / 2)


@as_js
def capped(p_logits: Array, q_logits: Array) -> Array:
    """Rows beyond 64 classes: the mean of the logits is taken for the logits of the mean."""
    log_p, log_q = log_probabilities(p_logits), log_probabilities(q_logits)
    log_m = np.logaddexp(log_p, log_q) - p_logits.dtype.type(np.log(2.0))
    if p_logits.shape[-1] > _TILE:
        log_m = log_probabilities((p_logits + q_logits) / 2)
    return np.asarray((divergence(log_p, log_m) + divergence(log_q, log_m)) / 2)


def _rows_counted(losses: Array, weights: Array, live: Array, reduction: str) -> Any:
    total = weighted(losses, weights, live, "sum" if reduction == "mean" else reduction)
    return total / losses.dtype.type(np.count_nonzero(live)) if reduction == "mean" else total


def _all_rows(losses: Array, weights: Array, live: Array, reduction: str) -> Any:
    if reduction != "mean":
        return weighted(losses, weights, live, reduction)
    return weighted(losses, weights, live, "sum") / weights.sum()


def _label(rows: Array, labels: Array) -> Array:
    """The mean of weighted losses is over the rows, not over their weights."""
    return np.asarray(np.take_along_axis(rows, labels[:, None], axis=-1)[:, 0])


def _label_of_all(rows: Array, labels: Array) -> Array:
    """The mean is over all rows, the ignored ones among them."""
    return np.asarray(np.take_along_axis(rows, labels[:, None], axis=-1)[:, 0])


rows_counted = as_nll(_label, _rows_counted)
all_rows = as_nll(_label_of_all, _all_rows)


@as_nll
def floored(rows: Array, labels: Array) -> Array:
    """Log-probabilities are not below -100, the habit of a binary cross entropy."""
    return np.asarray(np.maximum(np.take_along_axis(rows, labels[:, None], axis=-1)[:, 0], -100))


@as_nll
def mask_times_zero(rows: Array, labels: Array) -> Array:
    """One-hot times x: a masked class beside the label is 0 times -inf."""
    return np.asarray(((np.arange(rows.shape[-1]) == labels[:, None]) * rows).sum(axis=-1))


def _pair(p: ArrayLike, q: ArrayLike) -> Trigger:
    def trigger(fmt: str) -> Arguments:
        return (in_format(p, fmt), in_format(q, fmt)), {}

    return trigger


_FINE = ("float64", "float32", "float16")
_LONG = [[0.03 * (i % 50) for i in range(100)]]

FAULTS: tuple[Fault, ...] = (
    Fault("softmax-twice", "topk_softmax", softmax_twice, CATEGORY,
          "renormalised weights", "softmax twice", on([[0.0, 1.0, 3.0]], renormalise=True)),
    Fault("softmax-of-chosen", "topk_softmax", softmax_of_chosen, CATEGORY,
          "more than 64 experts", "softmax over the chosen only", on(_LONG)),
    Fault("epsilon-in-sum", "topk_softmax", epsilon_in_sum, CATEGORY,
          "renormalised small weights", "epsilon in the sum", on([[0.0] * 64], renormalise=True)),
    Fault("weights-in-bfloat16", "topk_softmax", weights_in_bfloat16, CATEGORY,
          "more than 64 experts", "weights rounded", on(_LONG), _FINE),
    Fault("first-tile", "topk_softmax", largest_of_first_tile, CATEGORY,
          "a large weight beyond the first 64", "top-k of a part", on([rising(100, 3.0)])),
    Fault("clamped", "js_divergence", clamped_probabilities, CATEGORY,
          "probabilities below 1e-7", "clamped log-probabilities", _pair([[0.0, -40.0]], [[-40.0, 0.0]]), ("float64",)),
    Fault("masked-class", "js_divergence", masked_class, CATEGORY,
          "a class masked in both", "inf - inf", _pair([[0.0, 1.0, -np.inf]], [[1.0, 0.0, -np.inf]])),
    Fault("nan-is-zero", "js_divergence", nan_is_zero, CATEGORY,
          "a NaN among the logits", "NaN replaced by 0", _pair([[0.0, np.nan]], [[1.0, 0.0]])),
    Fault("mean-of-logits", "js_divergence", capped, CATEGORY,
          "more than 64 classes", "mean of the logits for the mean", _pair([rising(100, 9.0)], [rising(100, 0.0)]), _FINE),
    Fault("rows-counted", "nll", rows_counted, CATEGORY,
          "class weights, reduction mean", "mean over rows", loss_on([[-1.0, -0.5], [-2.0, -0.25]], [0, 1], weight=[1.0, 3.0])),
    Fault("all-rows", "nll", all_rows, CATEGORY,
          "a label to ignore, reduction mean", "ignored labels count", loss_on([[-1.0, -0.5], [-2.0, -0.25]], [0, -100])),
    Fault("floored", "nll", floored, CATEGORY,
          "log-probabilities below -100", "output floored", loss_on([[-200.0, 0.0]], [0])),
    Fault("mask-times-zero", "nll", mask_times_zero, CATEGORY,
          "a masked class", "0 times -inf", loss_on([[0.0, -np.inf]], [0])),
)  # fmt: skip
