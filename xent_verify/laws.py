"""Laws: what the answers must satisfy whatever the logits are. No truth is asked, so they also hold for rows of 10^6.

Every tolerance follows from the elementwise limit: an answer y_i = t_i + e_i with \\|e_i\\| <= limit_i. A value that a
law compares with the answer of *another* call allows that call its own limit, which is the first one's times the ratio
of the two a-priori bounds (``_limit_of``). Only rows with a softmax take part: no NaN, no +inf, something finite.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.formats import FloatArray, FloatFormat
from xent_verify.judge import Hit
from xent_verify.model import Batch
from xent_verify.ops import Op
from xent_verify.ops.op import rows_of
from xent_verify.policies import POLICIES
from xent_verify.properties import Ask, answer, compare, excused, result_places, result_rows, rows_view

__all__ = ["LAWS", "Law"]

_SEED = 20260101
_OWN = 2.0**-52
"""Relative rounding of the checks' own float64 sums and exponentials, per operation."""


@dataclass(frozen=True, slots=True)
class Given:
    """One answered call as rows: logits and values as float64, limits, and which rows have a softmax."""

    ask: Ask
    op: Op
    batch: Batch
    x: FloatArray
    values: FloatArray
    limit: FloatArray
    live: NDArray[np.bool_]

    @property
    def form(self) -> FloatFormat:
        return self.batch.form

    def hit(self, words: str, excess: FloatArray) -> list[Hit]:
        """A failure where ``excess`` (distance over allowance, per value or per row) is above 1."""
        excess = np.where(np.isnan(excess), np.inf, excess)
        excess = np.where(self.live if excess.ndim == 1 else self.live[:, None], excess, 0.0)
        bad = excess > 1
        if not bad.any():
            return []
        worst = np.unravel_index(int(np.argmax(excess)), excess.shape)
        places = result_places(self.op, self.batch)
        place = int(places[worst] if excess.ndim == 2 and places.shape == excess.shape else places[worst[0], 0])
        return [Hit("property", "fail", words, int(bad.sum()), place, None, float(excess[worst]))]

    def flush(self) -> FloatArray:
        """What zeros may hide where subnormal results are flushed (judged elsewhere): one smallest normal each."""
        return np.asarray((self.values == 0).sum(axis=1) * self.form.smallest_normal)


@dataclass(frozen=True, slots=True)
class Law:
    """``check(ask, op, batch, value, limit)``: hits of kind "property" where the law is broken beyond the limits."""

    name: str
    about: str
    body: Callable[[Given], list[Hit]]

    def check(self, ask: Ask, op: Op, batch: Batch, value: NDArray[Any], limit: FloatArray) -> list[Hit]:
        """Check one answer; nothing to say about answers of the wrong shape, which are judged elsewhere."""
        shape = op.result_shape(batch)
        if value.shape != shape or not value.size or not batch.x.size or value.dtype.kind in "cOSUM":
            return []
        x = batch.form.widen(rows_of(op, batch))
        values = result_rows(op, batch, value.astype(np.float64))
        limits = result_rows(op, batch, np.broadcast_to(np.asarray(limit, np.float64), shape))
        if not op.by_row:
            x, values, limits = x.reshape(-1, 1), values.reshape(-1, 1), limits.reshape(-1, 1)
        ordinary: NDArray[np.bool_] = np.asarray((x < np.inf).all(axis=1) & (x > -np.inf).any(axis=1))
        live = ordinary if len(values) == len(x) else np.array([ordinary.all()])
        if not live.any():
            return []
        if not batch.form.has_inf and op.result == "elements":
            values = _without_infinity(x, values, batch.form)
        with np.errstate(all="ignore"):
            return self.body(Given(ask, op, batch, x, values, limits, live))


def _without_infinity(x: FloatArray, values: FloatArray, form: FloatFormat) -> FloatArray:
    """NaN stands for overflow in a format without infinities: -inf where -log p may be beyond M."""
    with np.errstate(all="ignore"):
        beyond = x.max(axis=1, keepdims=True) - x + np.log(x.shape[1]) >= form.max_finite
    return np.where(np.isnan(values) & beyond, -np.inf, values)


def _limit_of(given: Given, other: Batch, values: FloatArray) -> FloatArray:
    """The limit of another call of the same op whose result is ``values`` [R, k] (row r belongs to the given row r).

    limit x (bound of the other call / bound of this one), the largest such ratio over the policies' bounds; where the
    limit is a few ulps of the value it may also be a number of ulps, and then is the same number of the other's.
    """
    form = given.form
    ratio = np.ones(values.shape)
    for policy in POLICIES.values():
        if policy.kind == "bound":
            model = policy.model(form)
            mine, its = given.op.bound(given.batch, model), given.op.bound(other, model)
            ratio = np.maximum(ratio, result_rows(given.op, other, its) / result_rows(given.op, given.batch, mine))
    ulps = np.minimum(given.limit / form.ulp(given.values), 2.0**10) * form.ulp(values)
    return np.fmax(given.limit * ratio, ulps)


def _moved(rows: FloatArray, form: FloatFormat) -> FloatArray:
    """For each row the largest c such that x + c is exact for every logit (0 where none is found)."""
    top, low = rows.max(axis=1), np.where(np.isfinite(rows), rows, np.inf).min(axis=1)
    powers = [sign * 2.0**k for k in (-3, 0, 2, 4, 6, 8, 10, 13) for sign in (1, -1)]
    best = np.zeros(len(rows))
    for candidate in (*(np.full(len(rows), c) for c in powers), -top, -low):
        shift = form.widen(form.narrow(candidate))
        total = rows + shift[:, None]
        part = total - rows
        lost = (rows - (total - part)) + (shift[:, None] - part)
        exact = (lost == 0) & (form.widen(form.narrow(total)) == total) & (np.abs(total) <= form.max_finite / 2)
        good = (exact | np.isneginf(rows)).all(axis=1) & np.isfinite(shift)
        best = np.where(good & (np.abs(shift) > np.abs(best)), shift, best)
    return best


def _shifted(given: Given) -> tuple[Batch, FloatArray] | None:
    """The batch with an exact constant added to each row, and the constants."""
    rows = np.where(given.live[:, None], given.x, 0.0) if len(given.live) == len(given.x) else given.x
    c = _moved(rows, given.form)
    c = np.where(given.live if len(given.live) == len(c) else True, c, 0.0)
    if not c.any():
        return None
    return _with_rows(given, np.where(c[:, None] == 0, given.x, given.x + c[:, None])), c


def _with_rows(given: Given, rows: FloatArray) -> Batch:
    """The batch with other logits in its first input, in the batch's own shape."""
    op, batch = given.op, given.batch
    axis = int(op.option(batch, "axis")) if "axis" in op.options else -1
    outer = np.moveaxis(batch.x, axis, -1).shape
    x = np.ascontiguousarray(np.moveaxis(rows.reshape(outer), -1, axis))
    name = next(iter(batch.inputs))
    return replace(batch, inputs={**batch.inputs, name: batch.form.narrow(x)})


def _against(given: Given, words: str, values: FloatArray, other: FloatArray, its_limit: FloatArray) -> list[Hit]:
    """Two answers that should be equal: the larger of the two limits counts twice; bits alone are no broken law."""
    free = result_rows(given.op, given.batch, excused(given.op, given.batch)) | ~given.live[:, None]
    pair = np.where(free, 0.0, values), np.where(free, 0.0, other)
    limit = np.maximum(given.limit, its_limit) + _OWN * np.abs(pair[0])
    places = result_places(given.op, given.batch)
    return [hit for hit in compare("property", words, given.form, pair, limit, places) if hit.severity == "fail"]


def _shift(given: Given) -> list[Hit]:
    """f(x + c) = f(x): both answers lie within the limit, which depends on the gaps only."""
    moved = _shifted(given)
    if moved is None:
        return []
    found = answer(given.op, moved[0], given.ask(moved[0]))
    if found is None:
        return []
    words = "a constant added to every logit of a row changes the result"
    return _against(given, words, given.values, result_rows(given.op, moved[0], found), given.limit)


def _shift_adds(given: Given) -> list[Hit]:
    """L(x + c) = L(x) + c within limit(x) + limit(x + c); the comparison itself rounds L and c once."""
    moved = _shifted(given)
    if moved is None:
        return []
    found = answer(given.op, moved[0], given.ask(moved[0]))
    if found is None:
        return []
    other, c = result_rows(given.op, moved[0], found), moved[1][:, None]
    limit = _limit_of(given, moved[0], other) + _OWN * (np.abs(c) + np.abs(other))
    words = "a constant added to every logit of a row is not added to the result"
    return _against(given, words, given.values, other - c, limit)


def _permutation(given: Given) -> list[Hit]:
    """f(x permuted) = f(x) permuted: bounds do not depend on the order. Reversed, and in one fixed random order."""
    n = given.x.shape[1]
    for order in (np.arange(n)[::-1], np.random.default_rng(_SEED).permutation(n)) if n > 1 else ():
        turned = _with_rows(given, given.x[:, order])
        found = answer(given.op, turned, given.ask(turned))
        if found is None:
            return []
        values = result_rows(given.op, turned, found)
        if given.op.result == "elements":
            back = np.empty_like(values)
            back[:, order] = values
            values = back
        words = "the logits of a row in another order change the result"
        if hits := _against(given, words, given.values, values, given.limit):
            return hits
    return []


def _sum_to_one(given: Given) -> list[Hit]:
    """\\|sum y - 1\\| <= sum limit_i, since sum p = 1; flushed zeros may hide a smallest normal each."""
    total, n = given.values.sum(axis=1), given.values.shape[1]
    allowed = given.limit.sum(axis=1) + given.flush() + (np.log2(n) + 16) * _OWN
    worst = _farthest(np.abs(total - 1) / allowed, given.live)
    return given.hit(f"probabilities of a row add up to {total[worst]:.9g}", np.abs(total - 1) / allowed)


def _exp_sums_to_one(given: Given) -> list[Hit]:
    """\\|sum exp y - 1\\| <= sum p_i (exp limit_i - 1) <= sum exp(y_i + limit_i) (exp limit_i - 1)."""
    terms = np.exp(given.values)
    total, n = terms.sum(axis=1), given.values.shape[1]
    spread = np.minimum(given.limit, 700.0)
    own = ((np.log2(n) + 16 + np.where(terms > 0, np.abs(given.values), 0.0)) * terms).sum(axis=1) * _OWN
    excess = np.abs(total - 1) / ((terms * np.exp(spread) * np.expm1(spread)).sum(axis=1) + own)
    worst = _farthest(excess, given.live)
    return given.hit(f"exp of the log-probabilities of a row adds up to {total[worst]:.9g}", excess)


def _farthest(excess: FloatArray, live: NDArray[np.bool_]) -> int:
    return int(np.argmax(np.where(live, np.where(np.isnan(excess), np.inf, excess), -1.0)))


def _rows_sum_to_zero(given: Given) -> list[Hit]:
    """\\|sum g\\| <= sum limit_i, since sum (p sum(y) - y) = 0."""
    total = given.values.sum(axis=1)
    own = (np.log2(given.values.shape[1]) + 16) * _OWN * np.abs(given.values).sum(axis=1)
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


def _range(given: Given) -> list[Hit]:
    """0 - limit <= p <= 1 + limit."""
    return _outside(given, "a probability outside [0, 1]", np.maximum(-given.values, given.values - 1))


def _not_positive(given: Given) -> list[Hit]:
    """log p <= limit."""
    return _outside(given, "a positive logarithm of a probability", given.values)


def _not_negative(given: Given) -> list[Hit]:
    """A loss or divergence is at least -limit (weights and targets are not negative)."""
    signed = [given.batch.inputs.get("target"), given.batch.options.get("weight")]
    if any(isinstance(a, np.ndarray) and a.dtype.kind not in "iu" and (a.astype(np.float64) < 0).any() for a in signed):
        return []
    values = np.where(np.isnan(given.values), 0.0, given.values)  # NaN may be right here: a mean over nothing
    return _outside(given, "a negative loss", -values)


def _at_least_max(given: Given) -> list[Hit]:
    """m - limit <= L <= m + log n + limit."""
    top = given.x.max(axis=1, keepdims=True)
    below, above = top - given.values, given.values - (top + np.log(given.x.shape[1]))
    own = 4 * _OWN * np.abs(top)
    return _outside(given, "a logsumexp outside [max, max + log n]", np.maximum(below, above - own))


def _monotone(given: Given) -> list[Hit]:
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


def _concatenation(given: Given) -> list[Hit]:
    """lse(a ++ b) = log(exp lse(a) + exp lse(b)): log-add-exp passes on the larger of its arguments' errors."""
    rows, n = rows_view(given.op, given.batch), given.x.shape[1]
    if rows is None or n < 2:
        return []
    half = n // 2
    parts, limits = [], []
    for part in (slice(0, half), slice(half, n)):
        piece = replace(rows, inputs={name: value[:, part] for name, value in rows.inputs.items()}).batch()
        found = answer(given.op, piece, given.ask(piece))
        if found is None:
            return []
        parts.append(result_rows(given.op, piece, found))
        limits.append(_limit_of(given, piece, parts[-1]))
    first, second = (np.isneginf(part).all(axis=1, keepdims=True) for part in (given.x[:, :half], given.x[:, half:]))
    joined = np.where(first | second, given.values, np.logaddexp(*parts))
    limit = np.maximum(*limits) + 8 * _OWN * (np.abs(joined) + 1)
    words = "the result of a row differs from that of its two halves together"
    return _against(given, words, given.values, joined, limit)


def _one_hot(given: Given) -> list[Hit]:
    """A class index and the one-hot probabilities of that class give the same loss, within both limits."""
    op, batch = given.op, given.batch
    target, options = batch.inputs["target"], batch.options
    ignored = target.astype(object) == int(options.get("ignore_index", -100))
    weighted_mean = "weight" in options and op.option(batch, "reduction") == "mean"
    if target.ndim == 2 or np.any(ignored) or weighted_mean or not np.isfinite(given.x).all():
        return []
    hot = (np.arange(given.x.shape[1]) == target.astype(np.int64)[:, None]).astype(np.float64)
    plain = {name: value for name, value in options.items() if name != "ignore_index"}
    soft = replace(batch, inputs={**batch.inputs, "target": batch.form.narrow(hot)}, options=plain)
    found = answer(op, soft, given.ask(soft))
    if found is None:
        return []
    values = result_rows(op, soft, found)
    words = "class indices and their one-hot probabilities give different losses"
    return _against(given, words, given.values, values, _limit_of(given, soft, values))


LAWS: Mapping[str, Law] = MappingProxyType(
    {
        law.name: law
        for law in (
            Law("shift", "a constant added to a row changes nothing", _shift),
            Law("shift_adds", "a constant added to a row is added to the result", _shift_adds),
            Law("permutation", "the order of the logits does not matter", _permutation),
            Law("sum_to_one", "probabilities add up to 1", _sum_to_one),
            Law("exp_sums_to_one", "exp of log-probabilities adds up to 1", _exp_sums_to_one),
            Law("rows_sum_to_zero", "gradients of a row add up to 0", _rows_sum_to_zero),
            Law("range", "probabilities lie in [0, 1]", _range),
            Law("not_positive", "log-probabilities are not positive", _not_positive),
            Law("not_negative", "losses are not negative", _not_negative),
            Law("at_least_max", "logsumexp lies in [max, max + log n]", _at_least_max),
            Law("monotone", "larger logits have larger results", _monotone),
            Law("concatenation", "logsumexp of a row is that of its parts", _concatenation),
            Law("one_hot", "a class index is its one-hot probabilities", _one_hot),
        )
    }
)
