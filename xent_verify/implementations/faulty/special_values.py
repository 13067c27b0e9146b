"""Special values: NaN hidden, infinities replaced, ordinary numbers taken for a mask."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from xent_verify.implementations.entries import Fault
from xent_verify.implementations.faulty.triggers import loss_on, on
from xent_verify.implementations.gradients import as_gradient, minus_target
from xent_verify.implementations.rows import Array, row_map, row_reduction, typed_row_map
from xent_verify.implementations.stable import dot_with_log_probabilities, log_probabilities, log_sums, probabilities
from xent_verify.implementations.targets import Task, as_cross_entropy, form_of, solve

__all__ = ["FAULTS"]

CATEGORY = "special values"
INF, NAN = float("inf"), float("nan")


@row_map
def softmax_nan_is_masked(rows: Array) -> Array:
    """A NaN logit is replaced by -inf: the other probabilities look fine."""
    return probabilities(np.where(np.isnan(rows), -np.inf, rows).astype(rows.dtype))


@row_map
def softmax_sentinel(rows: Array) -> Array:
    """Logits at or below -1e4 are taken for a mask."""
    peak = rows.max(axis=-1, keepdims=True)
    terms = np.where(rows <= -1e4, 0, np.exp(rows - peak))
    return np.asarray(terms / terms.sum(axis=-1, keepdims=True))


@typed_row_map
def log_softmax_finite_mask(rows: Array, dtype: np.dtype[Any]) -> Array:
    """-inf is returned as the format's lowest finite value."""
    log_p = log_probabilities(rows)
    return np.where(np.isneginf(log_p), _lowest(dtype), log_p)


def _lowest(dtype: np.dtype[Any]) -> float:
    limits: Any = ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]
    return float(limits.min)


@row_reduction
def logsumexp_unguarded(rows: Array) -> Array:
    """m + log Σ exp(x - m) with no guard: -inf - (-inf) and inf - inf are NaN."""
    peak = rows.max(axis=-1)
    return np.asarray(peak + np.log(np.exp(rows - peak[:, None]).sum(axis=-1)))


@row_reduction
def logsumexp_half_guarded(rows: Array) -> Array:
    """Guarded for rows of -inf, not for +inf."""
    peak = rows.max(axis=-1, keepdims=True)
    reference = np.where(np.isneginf(peak), 0, peak)
    return np.asarray((reference + np.log(np.exp(rows - reference).sum(axis=-1, keepdims=True)))[:, 0])


@row_reduction
def logsumexp_nan_skipped(rows: Array) -> Array:
    """NaN is left out of the maximum and of the sum."""
    return log_sums(np.where(np.isnan(rows), -np.inf, rows).astype(rows.dtype))


@as_cross_entropy
def cross_entropy_mask_filled(task: Task) -> Array:
    """-inf logits are replaced by -1e4, which is no mask for logits below it."""
    return solve(task, form_of(lambda rows: log_probabilities(np.maximum(rows, -1e4) if _masked(rows) else rows)))


def _masked(rows: Array) -> bool:
    return bool(np.isneginf(rows).any())


@as_cross_entropy
def cross_entropy_infinite_is_zero(task: Task) -> Array:
    """An infinite loss (target on a masked class) is returned as 0."""

    def form(rows: Array, q: Array, halvings: int) -> Array:
        losses = dot_with_log_probabilities()(rows, q, halvings)
        return np.where(np.isinf(losses), 0, losses)

    return solve(task, form)


@as_gradient
def gradient_nan_is_zero(task: Task) -> Array:
    """NaN gradients are returned as 0."""
    gradient = minus_target(probabilities(task.rows), task)
    return np.where(np.isnan(gradient), 0, gradient)


FAULTS: tuple[Fault, ...] = (
    Fault("nan-is-masked", "softmax", softmax_nan_is_masked, CATEGORY,
          "a NaN logit", "NaN hidden", on([NAN, 0.0, 1.0])),
    Fault("sentinel", "softmax", softmax_sentinel, CATEGORY,
          "finite logits below -1e4", "sentinel taken for a mask", on([-20000.0, -20480.0])),
    Fault("finite-mask", "log_softmax", log_softmax_finite_mask, CATEGORY,
          "a -inf logit", "-inf replaced by a finite number", on([0.0, -INF])),
    Fault("unguarded", "logsumexp", logsumexp_unguarded, CATEGORY,
          "a row of -inf", "-inf - (-inf)", on([-INF, -INF])),
    Fault("half-guarded", "logsumexp", logsumexp_half_guarded, CATEGORY,
          "a +inf logit", "inf - inf", on([INF, 0.0])),
    Fault("nan-skipped", "logsumexp", logsumexp_nan_skipped, CATEGORY,
          "a NaN logit", "NaN hidden", on([NAN, 0.0])),
    Fault("mask-filled", "cross_entropy", cross_entropy_mask_filled, CATEGORY,
          "-inf beside logits below -1e4", "-inf replaced by -1e4", loss_on([[-20000.0, -INF]], [0])),
    Fault("infinite-is-zero", "cross_entropy", cross_entropy_infinite_is_zero, CATEGORY,
          "target on a masked class", "infinite loss returned as 0", loss_on([[0.0, -INF]], [1])),
    Fault("nan-is-zero", "cross_entropy_grad", gradient_nan_is_zero, CATEGORY,
          "a NaN logit", "NaN hidden", loss_on([[NAN, 0.0]], [0])),
)  # fmt: skip
