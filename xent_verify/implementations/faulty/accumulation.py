"""Low precision accumulation: sums, intermediates or exponentials kept narrower than the inputs deserve."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from xent_verify.implementations.entries import Fault
from xent_verify.implementations.faulty.triggers import NARROW, WIDE, loss_on, on
from xent_verify.implementations.rows import Array, row_map, row_reduction, typed_row_map
from xent_verify.implementations.stable import log_probabilities, probabilities
from xent_verify.implementations.targets import Task, as_cross_entropy, form_of, solve

__all__ = ["FAULTS"]

CATEGORY = "accumulation"
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FLOAT16 = np.dtype(np.float16)


def shifted_terms(rows: Array) -> Array:
    """exp(x - m)."""
    return np.asarray(np.exp(rows - rows.max(axis=-1, keepdims=True)))


def running_total(terms: Array, dtype: np.dtype[Any], lanes: int = 1) -> Array:
    """Sum [R, 1] in ``dtype``, one addition after the other in each of ``lanes`` interleaved lanes."""
    partial = np.zeros((terms.shape[0], lanes), dtype)
    for left in range(0, terms.shape[-1], lanes):
        block = terms[:, left : left + lanes].astype(dtype)
        partial[:, : block.shape[-1]] += block
    return np.asarray(partial.astype(terms.dtype).sum(axis=-1, keepdims=True))


@typed_row_map
def softmax_bfloat16_total(rows: Array, dtype: np.dtype[Any]) -> Array:
    """bfloat16 input summed in bfloat16: a total of ones stops at 256."""
    if dtype != BFLOAT16:
        return probabilities(rows)
    terms = shifted_terms(rows)
    return np.asarray(terms / running_total(terms, BFLOAT16))


@typed_row_map
def softmax_float16_lanes(rows: Array, dtype: np.dtype[Any]) -> Array:
    """float16 input summed in four float16 lanes: each stops at 2048, so only rows beyond 8192 show it."""
    if dtype != FLOAT16:
        return probabilities(rows)
    terms = shifted_terms(rows)
    return np.asarray(terms / running_total(terms, FLOAT16, lanes=4))


@typed_row_map
def softmax_float16_total_overflows(rows: Array, dtype: np.dtype[Any]) -> Array:
    """The total of float16 input is rounded to float16: inf beyond 65504 equal logits, and every probability 0."""
    if dtype != FLOAT16:
        return probabilities(rows)
    terms = shifted_terms(rows)
    total = terms.sum(axis=-1, keepdims=True)
    stored = np.where(total > 2048, total.astype(FLOAT16).astype(total.dtype), total)
    return np.asarray(terms / stored)


@typed_row_map
def softmax_narrow_differences(rows: Array, dtype: np.dtype[Any]) -> Array:
    """x - m rounded to the input's format before exp: a relative error of d·u of that format."""
    shifted = (rows - rows.max(axis=-1, keepdims=True)).astype(dtype).astype(rows.dtype)
    terms = np.exp(shifted)
    return np.asarray(terms / terms.sum(axis=-1, keepdims=True))


@row_map
def log_softmax_single_precision(rows: Array) -> Array:
    """float64 input computed in float32."""
    return log_probabilities(rows.astype(np.float32)).astype(rows.dtype)


@row_reduction
def logsumexp_cumulative(rows: Array) -> Array:
    """The sum taken as the last entry of a running (cumulative) sum: the error grows with n."""
    peak = rows.max(axis=-1, keepdims=True)
    reference = np.where(np.isfinite(peak), peak, 0).astype(rows.dtype)
    return np.asarray(reference[:, 0] + np.log(np.cumsum(np.exp(rows - reference), axis=-1)[:, -1]))


@as_cross_entropy
def cross_entropy_narrow_probabilities(task: Task) -> Array:
    """p rounded to the logits' format before the logarithm: small losses are gone, large ones infinite."""
    given = task.logits.dtype
    return solve(task, form_of(lambda rows: np.asarray(np.log(probabilities(rows).astype(given).astype(rows.dtype)))))


FAULTS: tuple[Fault, ...] = (
    Fault("bfloat16-total", "softmax", softmax_bfloat16_total, CATEGORY,
          "long rows of equal logits", "bfloat16 accumulator", on(np.zeros(300)), ("bfloat16",)),
    Fault("float16-lanes", "softmax", softmax_float16_lanes, CATEGORY,
          "very long rows of equal logits", "float16 accumulator lanes", on(np.zeros(12000)), ("float16",)),
    Fault("float16-total-overflows", "softmax", softmax_float16_total_overflows, CATEGORY,
          "more than 65504 equal logits", "float16 total", on(np.zeros(66000)), ("float16",)),
    Fault("narrow-differences", "softmax", softmax_narrow_differences, CATEGORY,
          "logits a few units apart", "x - max kept in the input's format", on([0.34, -8.1, -7.77]), NARROW),
    Fault("single-precision", "log_softmax", log_softmax_single_precision, CATEGORY,
          "float64", "float32 arithmetic", on([0.3, -1.1]), ("float64",)),
    Fault("cumulative", "logsumexp", logsumexp_cumulative, CATEGORY,
          "long rows of equal terms", "plain running sum", on([0.0] + [-0.7] * 100000), WIDE),
    Fault("narrow-probabilities", "cross_entropy", cross_entropy_narrow_probabilities, CATEGORY,
          "dominated rows, loss near 0", "p rounded to the input's format", loss_on([[7.0, 0.0]], [0]), NARROW),
)  # fmt: skip
