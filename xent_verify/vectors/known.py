"""What is right for one call: the enclosure, the correctly rounded answer, the acceptable range, the alternatives.

The acceptable range of an element runs from the lowest to the highest value of the format whose error is within the
policy's limit, as ``judge`` counts it: the ends are found by asking ``measure`` itself, so that both cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.enclosure import Enclosure
from xent_verify.core.formats import FloatFormat, IntArray
from xent_verify.core.model import Batch
from xent_verify.ops import op_named
from xent_verify.ops.limits import Limits
from xent_verify.truth import certify, exact
from xent_verify.verdict.conventions import PROFILES, situations
from xent_verify.verdict.measure import measure
from xent_verify.verdict.policies import Policy

__all__ = ["Alternative", "Known", "work_out"]

Array = NDArray[Any]
Accepts = Callable[[NDArray[np.bool_], IntArray], NDArray[np.bool_]]

_CANONICAL = 2000
"""Logits up to which the truth comes from interval arithmetic alone: its last digits are the same on every machine."""

_NEAR = 3
"""How far off (in steps of the format) the first guess of an end may be without a longer search."""


@dataclass(frozen=True, slots=True)
class Alternative:
    """Elements (flat indices) that may be answered otherwise too: in a named situation, by these words."""

    situation: str
    accept: tuple[str, ...]
    elements: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """All arrays have the result's shape; ``answer``, ``low`` and ``high`` the call's format (NaN where only NaN is right)."""

    answer: Array
    truth: Enclosure
    low: Array
    high: Array
    special: tuple[Alternative, ...] = ()


def work_out(batch: Batch, policy: Policy) -> Known:
    """Everything that is known of a call."""
    judged = certify(batch)  # what ``judge`` will measure against
    truth = exact.evaluate(batch) if batch.x.size <= _CANONICAL else judged
    answer = truth.rounded(batch.result_form)
    low, high = _range(batch, judged, answer, policy)
    return Known(answer, truth, low, high, _alternatives(batch, truth, answer, policy))


def _range(batch: Batch, truth: Enclosure, answer: Array, policy: Policy) -> tuple[Array, Array]:
    form = batch.result_form
    flat, right = truth.reshape(-1), answer.reshape(-1)
    limit = policy.limits(op_named(batch.op), batch, truth).error.reshape(-1)
    numbers = ~np.isnan(form.widen(right))
    safe = np.where(numbers, form.widen(right), 0.0).astype(form.dtype)
    inside = form.ordinal(safe)

    def accepts(where: NDArray[np.bool_], ordinals: IntArray) -> NDArray[np.bool_]:
        values = form.from_ordinal(ordinals)
        nowhere = np.zeros(values.shape, np.bool_)
        errors = measure(batch, values, flat[where], Limits(limit[where], nowhere, nowhere))
        return np.asarray(errors.ratio <= 1)

    ends = []
    for sign in (-1, 1):
        with np.errstate(all="ignore"):
            guess = form.narrow(np.nan_to_num(flat.to_float64() + sign * limit, nan=0.0))
        known = np.where(np.isnan(form.widen(guess)), safe, guess)
        found = _end(form, sign, inside, form.ordinal(known), numbers, accepts)
        ends.append(np.where(numbers, form.from_ordinal(found), right).astype(form.dtype).reshape(answer.shape))
    return ends[0], ends[1]


def _end(
    form: FloatFormat, sign: int, inside: IntArray, guess: IntArray, live: NDArray[np.bool_], accepts: Accepts
) -> IntArray:
    """The farthest accepted ordinal in the direction of ``sign``: bracketed from a guess, then bisected."""
    top = form.max_ordinal
    inner, outer = inside.copy(), inside.copy()
    edge = np.full_like(inside, sign * top)
    near = np.clip(guess - sign * _NEAR, -top, top)
    near = np.where(sign * (near - inside) > 0, near, inside)
    fine = _asked(accepts, live & (near != inside), near)
    inner = np.where(fine, near, inner)
    step = np.int64(2 * _NEAR)
    open_ = live.copy()
    while open_.any():
        room = np.abs(edge // 2 - inner // 2) > step
        ahead = np.where(room, inner + sign * step, edge)
        fine = _asked(accepts, open_, ahead)
        inner = np.where(fine, ahead, inner)
        outer = np.where(open_ & ~fine, ahead, outer)
        open_ = fine & (inner != edge)
        step = step * 2 if step < 2**60 else step
    outer = np.where(inner == edge, edge, outer)
    while (open_ := live & (np.abs(outer - inner) > 1)).any():
        middle = inner // 2 + outer // 2 + (inner % 2 + outer % 2) // 2
        fine = _asked(accepts, open_, middle)
        inner = np.where(open_ & fine, middle, inner)
        outer = np.where(open_ & ~fine, middle, outer)
    return inner


def _asked(accepts: Accepts, where: NDArray[np.bool_], ordinals: IntArray) -> NDArray[np.bool_]:
    result = np.zeros(where.shape, np.bool_)
    if where.any():
        result[where] = accepts(where, ordinals[where])
    return result


def _alternatives(batch: Batch, truth: Enclosure, answer: Array, policy: Policy) -> tuple[Alternative, ...]:
    """Situations of ``conventions`` (recognised with the right answer, and with NaN in its place), and tolerated overflow."""
    op = op_named(batch.op)
    masks: dict[str, NDArray[np.bool_]] = {}
    right = batch.result_form.widen(answer)
    for observed in (right, np.full(right.shape, np.nan)):
        for found in situations(op, batch, observed, truth.hi):
            masks[found.name] = masks.get(found.name, np.zeros(truth.shape, np.bool_)) | found.mask
    result = [
        Alternative(name, PROFILES["any"][name], _places(mask)) for name, mask in sorted(masks.items()) if mask.any()
    ]
    limits = policy.limits(op, batch, truth)
    if limits.wild.any():
        result.append(Alternative("intermediate overflow", ("inf", "-inf"), _places(limits.wild)))
    if limits.free.any():
        result.append(Alternative("zero times an overflow", ("nan",), _places(limits.free)))
    return tuple(result)


def _places(mask: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(place) for place in np.flatnonzero(mask))
