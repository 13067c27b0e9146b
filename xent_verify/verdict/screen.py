"""Many calls at the price of few: an answer is compared with float64 first, and judged only where it looks wrong.

A sweep asks thousands of calls: every row length, every band of exp's argument. Certified truth, limits and counts of
each would cost minutes. So the operation's first algorithm is run in float64; an answer passes when every value is within
a small distance of that, or within half of its limit. Nothing fails here: whatever does not pass is judged as every other
call is, and what float64 gets wrong is found right there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.formats import FORMATS, FloatArray, FloatFormat, IntArray
from xent_verify.core.model import Batch, Outcome, Returned
from xent_verify.ops import Op
from xent_verify.ops.limits import limits_of, run
from xent_verify.ops.machine import Machine
from xent_verify.verdict.policies import Policy
from xent_verify.verdict.properties import result_rows, rows_view

__all__ = ["Screen", "Suspicion"]

_DOUBLE = Machine(FORMATS["float64"], FORMATS["float64"], FORMATS["float64"])
_ROWS = 24
"""Rows of one call that are judged, those farthest off."""

_LOGITS = 2**17
"""Logits of one call whose limits are worked out, in the rows that are farthest off."""

_TOLD = 32
"""Bits of the widest format beside whose roundings those of float64 are nothing."""

_ENOUGH = 8
"""Failing calls of one regime after which its sweep ends."""


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A call to judge: ``rows`` of the answered one, or that one itself (None)."""

    rows: Batch | None


class Screen:
    """The screen of one target on one op and format, and how much has passed it."""

    def __init__(self, op: Op, policy: Policy) -> None:
        self.op, self.policy = op, policy
        self.calls, self.values = 0, 0
        self._failed: dict[str, int] = {}

    @property
    def notes(self) -> list[str]:
        """What has been compared, for people."""
        told = f"{self.values:,} values of {self.calls:,} calls compared with float64, and judged where they differ"
        return [told] if self.calls else []

    def wanted(self, batch: Batch) -> bool:
        """False once enough of the batch's regime has failed."""
        return self._failed.get(batch.regime, 0) < _ENOUGH

    def failed(self, batch: Batch) -> None:
        self._failed[batch.regime] = self._failed.get(batch.regime, 0) + 1

    def suspicion(self, batch: Batch, outcome: Outcome) -> Suspicion | None:
        """What is to be judged of an answered call; None where it passes."""
        if not isinstance(outcome, Returned) or not _proper(self.op, batch, outcome):
            return Suspicion(None)
        value = batch.form.widen(outcome.value)
        with np.errstate(all="ignore"):
            wanted = run(self.op, next(iter(self.op.algorithms)), batch, _DOUBLE)
            off = _far(value, wanted, _near(self.op, self.policy, batch.form), batch.form)
        self.calls, self.values = self.calls + 1, self.values + value.size
        return self._doubted(batch, value, wanted, off) if off.any() else None

    def shares(self, batch: Batch, outcome: Outcome) -> FloatArray | None:
        """For each row about how much of its limit an answer takes; None where float64 does not tell."""
        derived = self.policy.kind == "bound" and batch.form.bits <= _TOLD
        if not derived or not isinstance(outcome, Returned) or not _proper(self.op, batch, outcome):
            return None
        with np.errstate(all="ignore"):
            wanted = run(self.op, next(iter(self.op.algorithms)), batch, _DOUBLE)
        found, right = (result_rows(self.op, batch, array) for array in (batch.form.widen(outcome.value), wanted))
        self.calls, self.values = self.calls + 1, self.values + found.size
        return _shares(self.op, self.policy, batch, found, right)

    def _doubted(self, batch: Batch, value: FloatArray, wanted: FloatArray, off: NDArray[np.bool_]) -> Suspicion | None:
        """The rows that are off by more than half of their limits."""
        rows = rows_view(self.op, batch)
        derived = self.policy.kind == "bound"
        found, right, far = (result_rows(self.op, batch, array) for array in (value, wanted, off))
        if rows is None:
            fine = derived and (_shares(self.op, self.policy, batch, found, right) <= 0.5).all()
            return None if fine else Suspicion(None)
        index = _farthest(found, right, far, max(_LOGITS // batch.x.shape[-1], 1))
        some = rows.take(index).batch()
        if derived:
            shares = _shares(self.op, self.policy, some, found[index], right[index])
            index, shares = index[shares > 0.5], shares[shares > 0.5]
            if not index.size:
                return None
            index = np.sort(index[_descending(shares)[:_ROWS]])
        else:
            index = index[:_ROWS]
        whole = len(index) == len(far) or batch.layout != "C"
        return Suspicion(None if whole else replace(rows.take(index).batch(), aspect="values"))


def _proper(op: Op, batch: Batch, outcome: Returned) -> bool:
    """An array of the right shape and format, and nothing else happened."""
    conduct = outcome.mutated or outcome.earlier_changed or outcome.global_state
    return outcome.value.shape == op.result_shape(batch) and outcome.dtype_name == batch.fmt and not conduct


def _near(op: Op, policy: Policy, form: FloatFormat) -> float:
    """The distance that passes, in units of u: about what any limit allows, more where a value is made of a whole row."""
    usual = 1.02 if form.bits < 32 else 5.0 if op.result == "elements" else 12.0
    return min(usual, policy.ulps * 0.9) if policy.kind == "ulp" else usual


def _far(value: FloatArray, wanted: FloatArray, ulps: float, form: FloatFormat) -> NDArray[np.bool_]:
    """Where a value is farther from another one than so many u of it; a subnormal quantum is always allowed.

    A value of exp(-k) may be k u farther: its argument was rounded.
    """
    allowed = np.asarray(np.abs(wanted))
    allowed *= ulps * form.unit_roundoff
    allowed += form.smallest_subnormal
    distance = np.asarray(np.subtract(value, wanted))
    np.abs(distance, out=distance)
    off = np.asarray(~(distance <= allowed) & (value != wanted))
    if off.any():
        size, more = np.abs(wanted[off]), form.unit_roundoff
        off[off] = ~(distance[off] - allowed[off] <= size * np.abs(np.log(size)) * more)
    return off


def _farthest(found: FloatArray, right: FloatArray, far: NDArray[np.bool_], most: int) -> IntArray:
    """The rows with a value that is off; of too many those that are farthest off, relative to the right values."""
    index: IntArray = np.flatnonzero(far.any(axis=1))
    if len(index) <= most:
        return index
    with np.errstate(all="ignore"):
        distance = np.where(far[index], np.abs(found[index] / right[index] - 1.0), 0.0)
    return np.sort(index[_descending(np.where(np.isnan(distance), np.inf, distance).max(axis=1))[:most]])


def _descending(distances: FloatArray) -> IntArray:
    """Places from the largest on, the first of equals first.

    Distances come from NumPy's exp, whose last bits depend on the machine: what is equal to 24 bits counts as equal.
    """
    with np.errstate(over="ignore"):
        return np.argsort(-distances.astype(np.float32), kind="stable")


def _shares(op: Op, policy: Policy, batch: Batch, found: FloatArray, right: FloatArray) -> FloatArray:
    """For each row the largest distance over its limit."""
    limits = result_rows(op, batch, limits_of(op, batch, policy.machine_for(batch)).error)
    with np.errstate(all="ignore"):
        shares = np.where(found == right, 0.0, np.abs(found - right) / limits)
    return np.asarray(np.where(np.isnan(shares), np.inf, shares).max(axis=1, initial=0.0))
