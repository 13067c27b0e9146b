"""What a law looks at: one answered call as rows, with its limits; and the ways to compare and to report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.formats import FloatArray, FloatFormat
from xent_verify.core.model import Batch
from xent_verify.ops import Op
from xent_verify.ops.limits import limits_of
from xent_verify.ops.rows import Rows
from xent_verify.verdict.judge import Hit
from xent_verify.verdict.policies import POLICIES
from xent_verify.verdict.properties import Ask, compare, excused, result_places, result_rows

__all__ = ["OWN_ROUNDING", "Given", "Law", "against", "limit_of"]

OWN_ROUNDING = 2.0**-52
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
    limits: Callable[[Batch], FloatArray] | None = None
    """The policy's limits of another call, where they are known."""

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
        return np.asarray((self.values == 0).sum(axis=1) * self.batch.result_form.smallest_normal)


@dataclass(frozen=True, slots=True)
class Law:
    """``check(ask, op, batch, value, limit)``: hits of kind "property" where the law is broken beyond the limits."""

    name: str
    about: str
    body: Callable[[Given], list[Hit]]

    def check(
        self,
        ask: Ask,
        op: Op,
        batch: Batch,
        value: NDArray[Any],
        limit: FloatArray,
        limits: Callable[[Batch], FloatArray] | None = None,
    ) -> list[Hit]:
        """Check one answer; nothing to say about answers of the wrong shape, which are judged elsewhere.

        ``limits``: those of any other call.
        """
        shape = op.result_shape(batch)
        if value.shape != shape or not value.size or not batch.x.size or value.dtype.kind in "cOSUM":
            return []
        x = batch.form.widen(Rows.of_call(op, batch).of(batch.x))
        values = result_rows(op, batch, value.astype(np.float64))
        allowed = result_rows(op, batch, np.broadcast_to(np.asarray(limit, np.float64), shape))
        if not op.by_row:
            x, values, allowed = x.reshape(-1, 1), values.reshape(-1, 1), allowed.reshape(-1, 1)
        ordinary: NDArray[np.bool_] = np.asarray((x < np.inf).all(axis=1) & (x > -np.inf).any(axis=1))
        live = ordinary if len(values) == len(x) else np.array([ordinary.all()])
        if batch.result_form.saturates:  # M may stand for any number beyond it: nothing follows from such a row
            live = live & (np.abs(values) < batch.result_form.max_finite).all(axis=1)
        if not live.any():
            return []
        if batch.result_form.has_nan and not batch.result_form.has_inf and op.result == "elements":
            values = _without_infinity(x, values, batch.result_form)
        with np.errstate(all="ignore"):
            return self.body(Given(ask, op, batch, x, values, allowed, live, limits))


def _without_infinity(x: FloatArray, values: FloatArray, form: FloatFormat) -> FloatArray:
    """NaN stands for overflow in a format without infinities: -inf where -log p may be beyond M."""
    with np.errstate(all="ignore"):
        beyond = x.max(axis=1, keepdims=True) - x + np.log(x.shape[1]) >= form.max_finite
    return np.where(np.isnan(values) & beyond, -np.inf, values)


def limit_of(given: Given, other: Batch, values: FloatArray) -> FloatArray:
    """The limit of another call of the same op whose result is ``values`` [R, k] (row r belongs to the given row r).

    limit x (bound of the other call / bound of this one), the largest such ratio over the policies' bounds; where the
    limit is a few ulps of the value it may also be a number of ulps, and then is the same number of the other's.
    """
    form = given.batch.result_form
    ratio = np.ones(values.shape)
    for policy in POLICIES.values():
        if policy.kind == "bound":
            machine = policy.machine(given.form, form)
            mine, its = (limits_of(given.op, call, machine).error for call in (given.batch, other))
            ratio = np.maximum(ratio, result_rows(given.op, other, its) / result_rows(given.op, given.batch, mine))
    ulps = np.minimum(given.limit / form.ulp(given.values), 2.0**10) * form.ulp(values)
    return np.fmax(given.limit * ratio, ulps)


def against(given: Given, words: str, values: FloatArray, other: FloatArray, its_limit: FloatArray) -> list[Hit]:
    """Two answers that should be equal: the larger of the two limits counts twice; bits alone are no broken law."""
    free = result_rows(given.op, given.batch, excused(given.op, given.batch)) | ~given.live[:, None]
    pair = np.where(free, 0.0, values), np.where(free, 0.0, other)
    limit = np.maximum(given.limit, its_limit) + OWN_ROUNDING * np.abs(pair[0])
    places = result_places(given.op, given.batch)
    hits = compare("property", words, given.batch.result_form, pair, limit, places)
    return [hit for hit in hits if hit.severity == "fail"]
