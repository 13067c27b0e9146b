"""Shift and overflow: the subtraction of the maximum is missing, partial, or of something else."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from xent_verify.implementations.entries import Fault
from xent_verify.implementations.faulty.triggers import NARROW, loss_on, on, rising
from xent_verify.implementations.normalisers import finite_or_zero
from xent_verify.implementations.rows import Array, row_map, row_reduction, working_dtype
from xent_verify.implementations.stable import dot_with_log_probabilities, logsumexp_stable, softmax_stable
from xent_verify.implementations.targets import Task, as_cross_entropy, labels, solve, weigh

__all__ = ["FAULTS", "softmax_about"]

CATEGORY = "shift"


def softmax_about(rows: Array, reference: Array) -> Array:
    """exp(x - r) / Σ exp(x - r) for any reference r [R, 1]; right as long as nothing over- or underflows."""
    terms = np.exp(rows - reference)
    return np.asarray(terms / terms.sum(axis=-1, keepdims=True))


def lse_about(rows: Array, reference: Array) -> Array:
    """r + log Σ exp(x - r) for any reference r [R, 1]."""
    return np.asarray((reference + np.log(np.exp(rows - reference).sum(axis=-1, keepdims=True)))[:, 0])


@row_map
def softmax_largest_magnitude(rows: Array) -> Array:
    """Shifted by max |x|: a row of large negative logits is pushed further down, to 0/0."""
    return softmax_about(rows, np.abs(rows).max(axis=-1, keepdims=True))


@row_map
def softmax_clamped(rows: Array) -> Array:
    """Logits clamped to ±80 in place of a shift: 90 and 100 become equal."""
    return softmax_about(np.clip(rows, -80, 80), rows.dtype.type(0))


@row_map
def softmax_minimum(rows: Array) -> Array:
    """Shifted by the minimum: a wide row overflows."""
    return softmax_about(rows, rows.min(axis=-1, keepdims=True))


@row_map
def softmax_first_warp_maximum(rows: Array) -> Array:
    """The maximum of the first 32 columns only: a larger one behind them overflows."""
    return softmax_about(rows, rows[:, :32].max(axis=-1, keepdims=True))


@row_map
def log_softmax_previous_row(rows: Array) -> Array:
    """Each row shifted by the maximum of the row before it."""
    reference = np.roll(rows.max(axis=-1, keepdims=True), 1, axis=0)
    return rows - lse_about(rows, reference)[:, None]


@row_reduction
def logsumexp_maximum_from_tiny(rows: Array) -> Array:
    """The running maximum starts at the smallest positive normal (FLT_MIN, tiny) in place of the lowest value."""
    start = np.finfo(rows.dtype).tiny
    return lse_about(rows, rows.max(axis=-1, keepdims=True, initial=start))


@row_reduction
def logsumexp_shift_above_700(rows: Array) -> Array:
    """The shift is taken only above 700: float64's threshold in float32 arithmetic."""
    peak = rows.max(axis=-1, keepdims=True)
    return lse_about(rows, np.where(peak > 700, finite_or_zero(peak), 0).astype(rows.dtype))


def softmax_stack_maximum(x: ArrayLike, axis: int = -1) -> Array:
    """Of three and more dimensions, each matrix has one maximum for all its rows."""
    given = np.asarray(x)
    if given.ndim < 3 or axis not in (-1, given.ndim - 1) or not given.size:
        return softmax_stable(given, axis)
    wide = given.astype(working_dtype(given.dtype))
    with np.errstate(all="ignore"):
        return softmax_about(wide, wide.max(axis=(-2, -1), keepdims=True)).astype(given.dtype)


def softmax_vector_unshifted(x: ArrayLike, axis: int = -1) -> Array:
    """The short way for a single vector has no shift."""
    given = np.asarray(x)
    if given.ndim != 1:
        return softmax_stable(given, axis)
    wide = given.astype(working_dtype(given.dtype))
    with np.errstate(all="ignore"):
        return softmax_about(wide, np.zeros_like(wide)).astype(given.dtype)


@row_map
def log_softmax_tile_maximum(rows: Array) -> Array:
    """Above 1,024 rows, tiles of 64 rows share a maximum."""
    if len(rows) <= 1024:
        return rows - lse_about(rows, rows.max(axis=-1, keepdims=True))[:, None]
    starts = np.arange(0, len(rows), 64)
    reference = np.repeat(np.maximum.reduceat(rows.max(axis=-1, keepdims=True), starts), 64, axis=0)[: len(rows)]
    return rows - lse_about(rows, reference)[:, None]


def logsumexp_strided_unshifted(x: ArrayLike, axis: int = -1) -> Array:
    """Views that are not contiguous go another way, which has no shift."""
    given = np.asarray(x)
    if given.flags.c_contiguous or not given.size:
        return logsumexp_stable(given, axis)
    with np.errstate(all="ignore"):
        return np.asarray(np.log(np.exp(given.astype(working_dtype(given.dtype))).sum(axis=axis))).astype(given.dtype)


@row_reduction
def logsumexp_mean(rows: Array) -> Array:
    """Shifted by the mean: one logit far above the others overflows."""
    return lse_about(rows, rows.mean(axis=-1, keepdims=True))


@as_cross_entropy
def cross_entropy_about_target(task: Task) -> Array:
    """log Σ exp(x - x_t): elegant, and overflows when another logit is far above the target's."""
    if task.soft or task.label_smoothing:
        return solve(task, dot_with_log_probabilities())
    reference = np.take_along_axis(task.rows, labels(task)[0][:, None], axis=-1)

    def form(rows: Array, q: Array, halvings: int) -> Array:
        log_terms = np.log(np.exp(rows - reference).sum(axis=-1, keepdims=True))
        return weigh(np.broadcast_to(np.ldexp(log_terms, -halvings), rows.shape), q)

    return solve(task, form)


FAULTS: tuple[Fault, ...] = (
    Fault("largest-magnitude", "softmax", softmax_largest_magnitude, CATEGORY,
          "all logits very negative", "shifted by max |x|", on([-1000.0, -1004.0])),
    Fault("clamped", "softmax", softmax_clamped, CATEGORY,
          "logits beyond ±80", "clamped logits", on([90.0, 100.0])),
    Fault("minimum", "softmax", softmax_minimum, CATEGORY,
          "spread beyond the overflow edge of exp", "shifted by the minimum", on([0.0, 1000.0])),
    Fault("first-warp-maximum", "softmax", softmax_first_warp_maximum, CATEGORY,
          "maximum beyond column 32", "maximum of a part of the row", on(rising(33, 1000.0))),
    Fault("stack-maximum", "softmax", softmax_stack_maximum, CATEGORY,
          "three dimensions, rows of very different scale", "one maximum a matrix", on([[[0.0, 1.0], [1000.0, 1004.0]]])),
    Fault("vector-unshifted", "softmax", softmax_vector_unshifted, CATEGORY,
          "one dimension, large logits", "no shift", on([1000.0, 1001.0])),
    Fault("tile-maximum", "log_softmax", log_softmax_tile_maximum, CATEGORY,
          "many rows of very different scale", "one maximum a tile", on([[0.0, 1.0], [1000.0, 1004.0]] * 600)),
    Fault("strided-unshifted", "logsumexp", logsumexp_strided_unshifted, CATEGORY,
          "views, large logits", "no shift", on([[1000.0, 0.0, 1001.0, 0.0]], view=lambda a: a[:, ::2])),
    Fault("previous-row", "log_softmax", log_softmax_previous_row, CATEGORY,
          "rows of very different scale in one batch", "maximum of another row", on([[0.0, 1.0], [1000.0, 1004.0]])),
    Fault("maximum-from-tiny", "logsumexp", logsumexp_maximum_from_tiny, CATEGORY,
          "all logits very negative", "running maximum starts near 0", on([-1000.0, -1004.0])),
    Fault("shift-above-700", "logsumexp", logsumexp_shift_above_700, CATEGORY,
          "logits between 88.72 and 700", "no shift", on([100.0, 100.0]), ("float32", *NARROW)),
    Fault("mean", "logsumexp", logsumexp_mean, CATEGORY,
          "one logit far above the others", "shifted by the mean", on([4000.0, 0.0, 0.0, 0.0])),
    Fault("about-target", "cross_entropy", cross_entropy_about_target, CATEGORY,
          "target's logit far below the maximum", "shifted by the target's logit", loss_on([[0.0, 1000.0]], [0])),
)  # fmt: skip
