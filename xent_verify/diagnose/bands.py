"""The band of arguments at which an answer is wrong, bisected to its neighbouring floats; the target is asked for it.

The argument is the gap d = max x - x of a row 0, -d (so that neither the row's length nor its level has a part in it), or x
itself for elementwise operations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.formats import FloatFormat, IntArray
from xent_verify.core.model import Batch
from xent_verify.ops import Op
from xent_verify.ops.rows import Rows

__all__ = ["band"]

Fails = Callable[[Batch], NDArray[np.bool_] | None]
"""Which values of a call's result are wrong; None where there is no answer to judge."""

_PROBES = 256
_WIDEST = 1 / 32
"""Share of the format's numbers (eight binades of float32) beyond which a band sets nothing apart."""

_NEARLY_ALL = 0.9
"""Share of a call's failing arguments that a band holds."""

_TRIED = 4
"""Failing values whose arguments are tried, until one fails by itself."""


def band(op: Op, batch: Batch, failing: NDArray[np.bool_], fails: Fails) -> str:
    """The band around a failing value's argument, in words; "" where the argument alone does not fail.

    Args:
        op: An operation whose one array is a row of logits, or one of elements.
        batch: A failing call.
        failing: Which values of its result are wrong.
        fails: Asks the target another call.

    Returns:
        Such as ``wrong for max x - x from 23.457 to 23.4571 (53 floats)``.
    """
    if len(op.inputs) != 1 or op.differentiates is not None or (op.by_row and op.result == "loss"):
        return ""
    probe = _Probe(op, batch, fails)
    arguments = _arguments(op, batch, failing)
    for argument in arguments[:_TRIED]:
        if probe.wrong(argument[None]).all():
            return probe.words(int(argument), arguments)
    return ""


def _arguments(op: Op, batch: Batch, failing: NDArray[np.bool_]) -> IntArray:
    """The ordinals of the failing values' arguments."""
    form = batch.form
    if not op.by_row:
        values = form.widen(batch.x)[failing] if failing.shape == batch.x.shape else np.zeros(0)
    else:
        view = Rows.of_call(op, batch)
        rows = view.of(form.widen(batch.x))
        with np.errstate(invalid="ignore"):
            gaps = rows.max(axis=1, keepdims=True, initial=-np.inf) - rows
        if failing.shape == batch.x.shape:
            values = gaps[view.of(failing)]
        else:
            bad = gaps[failing.reshape(-1)] if failing.size == len(gaps) else gaps[:0]
            values = bad[:, :2].max(axis=1, initial=0.0) if bad.size else np.zeros(0)
        values = values[values > 0]
    values = values[np.isfinite(values) & (np.abs(values) <= form.max_finite)]
    return np.asarray(form.ordinal(form.narrow(values)))


@dataclass(frozen=True, slots=True)
class _Probe:
    """Asks about arguments, which are ordinals of the format."""

    op: Op
    batch: Batch
    fails: Fails

    @property
    def form(self) -> FloatFormat:
        return self.batch.form

    def wrong(self, ordinals: IntArray) -> NDArray[np.bool_]:
        """Which of these arguments fail."""
        values = self.form.from_ordinal(ordinals)
        if self.op.by_row:
            values = np.stack([np.zeros_like(values), -values], axis=1)
        options = {name: value for name, value in self.batch.options.items() if not isinstance(value, np.ndarray)}
        options = {name: value for name, value in options.items() if self.op.options[name].kind != "axis"}
        found = self.fails(replace(self.batch, inputs={self.op.first: values}, options=options, layout="C"))
        if found is None:
            return np.zeros(len(ordinals), np.bool_)
        return np.asarray(found.reshape(len(ordinals), -1).any(axis=1))

    def edge(self, start: int, step: int) -> int | None:
        """The last failing ordinal from ``start`` on in one direction; None where they fail up to the format's end."""
        end = self.form.max_ordinal if step > 0 else 1 if self.op.by_row else -self.form.max_ordinal
        reach = abs(end - start)
        if not reach:
            return None
        far = sorted({min(int(offset), reach) for offset in np.geomspace(1, reach, _PROBES)})  # ints: 2**64 in float64
        bad, good = 0, reach + 1
        while good - bad > 1:
            right = np.flatnonzero(~self.wrong(np.array([start + step * offset for offset in far])))
            if not len(right) and good > reach:
                return None
            place = int(right[0]) if len(right) else len(far)
            bad = far[place - 1] if place else bad
            good = far[place] if place < len(far) else good
            between = good - bad - 1
            count = min(between, _PROBES)
            far = [bad + between * k // count for k in range(1, count + 1)]
        return start + step * bad

    def words(self, start: int, arguments: IntArray) -> str:
        """The band around a failing argument, where it holds nearly all the failing ones."""
        low, high = self.edge(start, -1), self.edge(start, 1)
        held = (arguments >= (arguments if low is None else low)) & (arguments <= (arguments if high is None else high))
        if held.mean() < _NEARLY_ALL:
            return ""
        name = "max x - x" if self.op.by_row else "x"
        if low is None or high is None:
            if low is None and high is None:
                return ""
            return (
                f"wrong for {name} ≥ {self._text(low)}" if low is not None else f"wrong for {name} ≤ {self._text(high)}"
            )
        if low == high:
            return f"wrong for {name} = {self._text(low)} alone"
        if high - low > _WIDEST * self.form.max_ordinal:
            return ""  # nearly every argument
        return f"wrong for {name} from {self._text(low)} to {self._text(high)} ({high - low + 1:,} floats)"

    def _text(self, ordinal: int | None) -> str:
        return str(self.form.from_ordinal(np.array([ordinal]))[0])
