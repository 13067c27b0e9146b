"""Laws that one answer must satisfy by itself: sums, ranges, order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.formats import FloatArray
from xent_verify.laws.given import OWN_ROUNDING, Given
from xent_verify.verdict.judge import Hit
from xent_verify.verdict.properties import excused, result_rows

__all__ = [
    "at_least_max",
    "exp_sums_to_one",
    "in_range",
    "monotone",
    "not_negative",
    "not_positive",
    "rows_sum_to_zero",
    "sum_to_one",
]


def sum_to_one(given: Given) -> list[Hit]:
    """|sum y - 1| <= sum limit_i, since sum p = 1; flushed zeros may hide a smallest normal each."""
    total, n = given.values.sum(axis=1), given.values.shape[1]
    allowed = given.limit.sum(axis=1) + given.flush() + (np.log2(n) + 16) * OWN_ROUNDING
    worst = _farthest(np.abs(total - 1) / allowed, given.live)
    return given.hit(f"probabilities of a row add up to {total[worst]:.9g}", np.abs(total - 1) / allowed)


def exp_sums_to_one(given: Given) -> list[Hit]:
    """|sum exp y - 1| <= sum p_i (exp limit_i - 1) <= sum exp(y_i + limit_i) (exp limit_i - 1)."""
    terms = np.exp(given.values)
    total, n = terms.sum(axis=1), given.values.shape[1]
    spread = np.minimum(given.limit, 700.0)
    own = ((np.log2(n) + 16 + np.where(terms > 0, np.abs(given.values), 0.0)) * terms).sum(axis=1) * OWN_ROUNDING
    excess = np.abs(total - 1) / ((terms * np.exp(spread) * np.expm1(spread)).sum(axis=1) + own)
    worst = _farthest(excess, given.live)
    return given.hit(f"exp of the log-probabilities of a row adds up to {total[worst]:.9g}", excess)


def _farthest(excess: FloatArray, live: NDArray[np.bool_]) -> int:
    return int(np.argmax(np.where(live, np.where(np.isnan(excess), np.inf, excess), -1.0)))


def rows_sum_to_zero(given: Given) -> list[Hit]:
    """|sum g| <= sum limit_i, since sum (p sum(y) - y) = 0."""
    total = given.values.sum(axis=1)
    own = (np.log2(given.values.shape[1]) + 16) * OWN_ROUNDING * np.abs(given.values).sum(axis=1)
    excess = np.abs(total) / (given.limit.sum(axis=1) + given.flush() + own)
    masked = given.batch.inputs["target"].ndim == 2 and np.isinf(given.x).any(axis=1)
    excess = np.where(masked, 0.0, excess)
    return given.hit(f"gradients of a row add up to {total[_farthest(excess, given.live)]:.9g}", excess)


def _outside(given: Given, words: str, distance: FloatArray) -> list[Hit]:
    """Values at a positive ``distance`` outside their range, by more than the limit."""
    excess = np.where(distance > 0, distance / given.limit, np.where(np.isnan(distance), np.inf, 0.0))
    free = result_rows(given.op, given.batch, excused(given.op, given.batch)).reshape(excess.shape)
    excess = np.where(free, 0.0, excess)
    worst = np.unravel_index(int(np.argmax(np.where(given.live[:, None], excess, -1.0))), excess.shape)
    return given.hit(f"{words}: {given.values[worst]:.9g}", excess)


def in_range(given: Given) -> list[Hit]:
    """0 - limit <= p <= 1 + limit."""
    return _outside(given, "a probability outside [0, 1]", np.maximum(-given.values, given.values - 1))


def not_positive(given: Given) -> list[Hit]:
    """log p <= limit."""
    return _outside(given, "a positive logarithm of a probability", given.values)


def not_negative(given: Given) -> list[Hit]:
    """A loss or divergence is at least -limit (weights and targets are not negative)."""
    signed = [given.batch.inputs.get("target"), given.batch.options.get("weight")]
    if any(isinstance(a, np.ndarray) and a.dtype.kind not in "iu" and (a.astype(np.float64) < 0).any() for a in signed):
        return []
    values = np.where(np.isnan(given.values), 0.0, given.values)  # NaN may be right here: a mean over nothing
    return _outside(given, "a negative loss", -values)


def at_least_max(given: Given) -> list[Hit]:
    """m - limit <= L <= m + log n + limit."""
    top = given.x.max(axis=1, keepdims=True)
    below, above = top - given.values, given.values - (top + np.log(given.x.shape[1]))
    own = 4 * OWN_ROUNDING * np.abs(top)
    return _outside(given, "a logsumexp outside [max, max + log n]", np.maximum(below, above - own))


def monotone(given: Given) -> list[Hit]:
    """x_i <= x_j implies y_i - limit_i <= y_j + limit_j: along each sorted row, against the running maximum."""
    if float(given.batch.options.get("temperature", 1.0)) < 0:
        return []
    finite = np.where(given.live[:, None], given.x, 0.0)
    order = np.argsort(finite, axis=1, kind="stable")
    low = np.take_along_axis(given.values - given.limit, order, axis=1)
    high = np.take_along_axis(given.values + given.limit, order, axis=1)
    reached = np.maximum.accumulate(np.where(np.isnan(low), -np.inf, low), axis=1)
    drop = np.where(reached > high, (reached - high) / np.take_along_axis(given.limit, order, axis=1), 0.0)
    excess = np.empty_like(drop)
    np.put_along_axis(excess, order, np.where(drop > 0, 1.0 + drop, 0.0), axis=1)
    excess = np.where(np.isnan(given.values), np.inf, excess)
    return given.hit("a larger logit has the smaller result", excess)
