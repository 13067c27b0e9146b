"""Values that follow from a definition, not from arithmetic: NaN, infinite and fully masked rows, ignored rows.

This is the one place for that logic;
every tier asks it first. NaN stands as the placeholder where only a convention decides (softmax of a row with +inf or
without a finite logit, a mean over nothing): the judge knows the conventions.

Let a row's logits be *sound* when none is NaN or +inf and at least one is finite. Then

* softmax: 0 on -inf logits; log_softmax: -inf there; every value NaN on rows that are not sound;
* logsumexp: NaN > +inf > -inf (no finite logit), in this order of precedence;
* cross entropy -sum_c a_c log p_c: a class with a_c = 0 contributes 0 (so 0 * log 0 = 0), one with a_c != 0 and a logit
  of -inf contributes sign(a_c) * inf; ignored rows contribute nothing, and their logits are not looked at;
  a row that is not sound gives NaN; a mean whose divisor is 0 gives NaN;
* gradient p * sum(y) - y: -y on -inf logits, 0 on ignored rows, NaN on rows that are not sound;
* sigmoid and its log at +-inf are their limits, which are not conventions (no other term competes).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.failures import UnknownNameError, UsageError
from xent_verify.core.formats import FloatArray
from xent_verify.core.model import Batch
from xent_verify.truth.rows import LossRows, binary_inputs, loss_rows, normal_axis, output_shape, temperature_of, wide

__all__ = [
    "Decided",
    "RowFlags",
    "binary_values",
    "combine",
    "gradient_values",
    "loss_divisor",
    "loss_row_values",
    "resolve",
    "row_flags",
]

Mask = NDArray[np.bool_]
Decided = tuple[FloatArray, Mask]


@dataclass(frozen=True, slots=True)
class RowFlags:
    """What the special logits of each row imply (arrays that keep the reduced axis, with length 1)."""

    nan: Mask
    plus: Mask  # holds +inf, no NaN
    none: Mask  # no finite logit: all -inf, or empty

    @property
    def unsound(self) -> Mask:
        """Rows on which softmax is not defined as a real vector."""
        return self.nan | self.plus | self.none


def row_flags(x: NDArray[Any], axis: int) -> RowFlags:
    """Flags of the rows of ``x`` along ``axis``."""
    values = wide(x)
    axis = normal_axis(axis, values.ndim)
    nan, plus, finite = (
        np.logical_or.reduce(found, axis=axis, keepdims=True)
        for found in (np.isnan(values), values == np.inf, np.isfinite(values))
    )
    return RowFlags(nan, plus & ~nan, ~(finite | nan | plus))


def resolve(batch: Batch) -> Decided:
    """(values, mask) in the op's output shape: ``values`` counts where ``mask`` is true, and is 0 elsewhere."""
    if batch.op not in _RESOLVERS:
        raise UnknownNameError("operation", batch.op, _RESOLVERS)
    values, mask = _RESOLVERS[batch.op](batch)
    shape = output_shape(batch)
    return np.where(mask, values, 0.0).reshape(shape), np.asarray(mask, bool).reshape(shape)


def _softmax(batch: Batch) -> Decided:
    x = wide(batch.x)
    if batch.op == "softmax_temperature" and temperature_of(batch.options) < 0:
        x = -x
    flags = row_flags(x, int(batch.options.get("axis", -1)))
    at_minus = -np.inf if batch.op == "log_softmax" else 0.0
    return np.where(flags.unsound, np.nan, at_minus), flags.unsound | (x == -np.inf)


def _logsumexp(batch: Batch) -> Decided:
    flags = row_flags(batch.x, int(batch.options.get("axis", -1)))
    return np.where(flags.nan, np.nan, np.where(flags.plus, np.inf, -np.inf)), flags.unsound


def _sigmoid(batch: Batch) -> Decided:
    x = wide(batch.x)
    limits = (0.0, 1.0) if batch.op == "sigmoid" else (-np.inf, 0.0)
    return np.where(np.isnan(x), np.nan, np.where(x > 0, limits[1], limits[0])), ~np.isfinite(x)


def _pair(batch: Batch) -> tuple[FloatArray, FloatArray]:
    values = list(batch.inputs.values())
    return wide(values[0]), wide(values[1])


def _kl_divergence(batch: Batch) -> Decided:
    p, q = _pair(batch)
    if p.shape != q.shape:
        raise UsageError(f"logits of shape {p.shape} and {q.shape} do not fit")
    axis = normal_axis(int(batch.options.get("axis", -1)), p.ndim)
    unsound = (row_flags(p, axis).unsound | row_flags(q, axis).unsound).any(axis=axis)
    infinite = ((p > -np.inf) & (q == -np.inf)).any(axis=axis)
    return np.where(unsound, np.nan, np.inf), unsound | infinite


def _signs(loss: LossRows) -> FloatArray:
    """sign(a_c) for every row and class; NaN where a weight or a target is not finite.

    Signs are multiplied, not values, so that no product underflows. With 0 <= smoothing <= 1 a smoothed target
    (1 - e) t + e / C of t >= 0 is 0 only if both summands are; of t < 0 it is taken exactly.
    """
    e = loss.smoothing
    with np.errstate(all="ignore"):
        if loss.labels is not None:
            base = np.full(loss.logits.shape, float(e > 0))
            np.put_along_axis(base, loss.labels[:, None], 1.0, axis=1)
        else:
            t = np.asarray(loss.probabilities)
            positive = ((t > 0) & (e < 1)) | ((t >= 0) & (e > 0))
            base = np.where(positive, 1.0, 0.0)
            for place in zip(*np.nonzero((t < 0) & np.isfinite(t)), strict=True):
                smoothed = (1 - Fraction(e)) * Fraction(t[place]) * loss.classes + Fraction(e)
                base[place] = (smoothed > 0) - (smoothed < 0)
            base = np.where(np.isfinite(t), base, np.nan)
        if loss.weight is not None:
            weight = np.where(np.isfinite(loss.weight), np.sign(loss.weight), np.nan)
            used = base if loss.labels is not None else np.ones_like(base)
            base = np.where(used == 0, 0.0, base * weight)  # an unused class's weight is not looked at
        return base


def loss_row_values(loss: LossRows) -> Decided:
    """Per row of a cross entropy: placeholder (0 where the loss is an ordinary number) and whether it is decided."""
    if not loss.logits.size:
        return np.where(loss.ignored, 0.0, np.nan), np.ones(loss.ignored.shape, bool)
    logits = wide(loss.logits)
    unsound = row_flags(logits, 1).unsound[:, 0]
    signs = _signs(loss)
    hit = np.where((logits == -np.inf) & (signs != 0), signs, 0.0)
    up, down = (hit > 0).any(axis=1), (hit < 0).any(axis=1)
    nan = unsound | np.isnan(signs).any(axis=1) | (up & down)
    value = np.where(nan, np.nan, np.where(up, np.inf, np.where(down, -np.inf, 0.0)))
    return np.where(loss.ignored, 0.0, value), loss.ignored | nan | up | down


def loss_divisor(loss: LossRows) -> float:
    """Divisor of a mean, correctly rounded; the largest float64 of its sign where it is beyond.

    Its sign and whether it is 0 decide what is undefined: a sum that rounds at each step may lose either, or overflow.
    """
    kept = ~loss.ignored
    if loss.labels is None or loss.weight is None:
        return float(np.count_nonzero(kept))
    weights = loss.weight[loss.labels[kept]].astype(np.float64)
    if not np.isfinite(weights).all():
        with np.errstate(invalid="ignore"):
            return float(weights.sum())
    try:
        return math.fsum(weights)
    except OverflowError:  # a partial sum, or the sum
        exact = sum(map(Fraction, weights.tolist()), Fraction(0))
        largest = Fraction(sys.float_info.max)
        return float(min(max(exact, -largest), largest))


def combine(rows: Decided, divisor: float, reduction: str) -> Decided:
    """Reduce per-row placeholders: any NaN or opposite infinities -> NaN, an infinity -> itself, else undecided (0)."""
    values, mask = rows
    if reduction == "none":
        return values, mask
    with np.errstate(all="ignore"):
        total = np.asarray(values.sum())
        if reduction == "mean":
            total = total / divisor if divisor != 0 and np.isfinite(divisor) else np.asarray(np.nan)
    return total, np.asarray(bool(mask.all()) or not np.isfinite(total))


def _cross_entropy(batch: Batch) -> Decided:
    loss = loss_rows(batch)
    return combine(loss_row_values(loss), loss_divisor(loss), loss.reduction)


def gradient_values(loss: LossRows) -> Decided:
    """Placeholders and mask of the gradient, as rows."""
    rows = wide(loss.logits)
    ignored = loss.ignored[:, None]
    if loss.probabilities is not None:
        y = loss.probabilities
    else:
        y = np.zeros(rows.shape)
        y[np.arange(rows.shape[0]), np.asarray(loss.labels)] = 1.0
    unsound = row_flags(rows, 1).unsound | ~np.isfinite(y).all(axis=1, keepdims=True)
    value = np.where(ignored, 0.0, np.where(unsound, np.nan, 0.0 - y))
    return value, ignored | unsound | (rows == -np.inf)


def _cross_entropy_grad(batch: Batch) -> Decided:
    values, mask = gradient_values(loss_rows(batch))
    return _as_logits(values, wide(batch.x)), _as_logits(mask, wide(batch.x))


def _as_logits(rows: NDArray[Any], logits: FloatArray) -> NDArray[Any]:
    """Rows back in the shape of [N, C, ...] logits."""
    axis = min(1, logits.ndim - 1)
    moved = np.moveaxis(logits, axis, -1).shape
    return np.moveaxis(rows.reshape(moved), -1, axis)


def binary_values(x: FloatArray, y: FloatArray, weight: FloatArray, pos_weight: FloatArray) -> Decided:
    """Per element of -w (c y log s(x) + (1 - y) log s(-x)): log s(x) is -inf at x = -inf only, and 0 at +inf."""
    from_target = np.sign(pos_weight) * np.sign(y)
    sign = np.where(x == -np.inf, from_target, np.where(x == np.inf, np.sign(1.0 - y), 0.0)) * np.sign(weight)
    nan = ~np.isfinite(weight) | ~np.isfinite(pos_weight) | ~np.isfinite(y) | np.isnan(x)
    limit = np.where(sign > 0, np.inf, np.where(sign < 0, -np.inf, 0.0))
    return np.where(nan, np.nan, limit), nan | np.isinf(x)  # an infinite logit's loss is 0 or infinite


def _binary_cross_entropy(batch: Batch) -> Decided:
    values = binary_values(*binary_inputs(batch))
    return combine(values, float(np.asarray(batch.x).size), str(batch.options.get("reduction", "mean")))


_RESOLVERS: dict[str, Callable[[Batch], Decided]] = {
    "softmax": _softmax,
    "softmax_temperature": _softmax,
    "log_softmax": _softmax,
    "logsumexp": _logsumexp,
    "cross_entropy": _cross_entropy,
    "cross_entropy_grad": _cross_entropy_grad,
    "sigmoid": _sigmoid,
    "log_sigmoid": _sigmoid,
    "binary_cross_entropy_with_logits": _binary_cross_entropy,
    "kl_divergence": _kl_divergence,
}
