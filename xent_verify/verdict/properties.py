"""What must hold between calls: the ground on which companions (``companions``) and laws (``laws``) stand.

A batch is taken apart into rows (``rows_view``), asked again in another form, and the answers are compared. Where only
bits differ, and both answers may lie within the limit of one true value (difference at most 2 limits), a
difference is information; beyond that one of the two is wrong, whatever the true value is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xent_verify.core.formats import FloatArray, FloatFormat, IntArray
from xent_verify.core.model import Batch, Died, Outcome, Returned, TimedOut
from xent_verify.ops import Op
from xent_verify.ops.limits import limits_of
from xent_verify.ops.op import BROADCAST
from xent_verify.verdict.judge import Hit
from xent_verify.verdict.policies import POLICIES

__all__ = [
    "Ask",
    "Rows",
    "answer",
    "apart",
    "compare",
    "excused",
    "result_places",
    "result_rows",
    "rows_view",
    "trouble",
]

Ask = Callable[[Batch], Outcome]


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a batch ``like``: every input [R, n] (class indices [R]), the op's axis last; matrices [k, n] as they are."""

    op: Op
    like: Batch
    inputs: Mapping[str, NDArray[Any]]
    options: Mapping[str, Any]

    @property
    def x(self) -> NDArray[Any]:
        """The logits [R, n]."""
        return next(iter(self.inputs.values()))

    @property
    def wide(self) -> FloatArray:
        """The logits as float64."""
        return self.like.form.widen(self.x)

    def take(self, index: ArrayLike) -> Rows:
        """Some of the rows, in that order."""
        return replace(self, inputs=self.op.of_rows(self.inputs, lambda value: value[np.asarray(index)]))

    def with_logits(self, values: FloatArray) -> Rows:
        """Other logits in the first input, rounded to the format."""
        first = next(iter(self.inputs))
        return replace(self, inputs={**self.inputs, first: self.like.form.narrow(values)})

    def batch(self, layout: str = "C") -> Batch:
        """The rows as a two-dimensional batch, the axis last."""
        tidy = {name: np.ascontiguousarray(value) for name, value in self.inputs.items()}
        return replace(self.like, inputs=tidy, options=self.options, layout=layout)


def rows_view(op: Op, batch: Batch) -> Rows | None:
    """The rows of a batch, or None where it has none that stand alone (reduced, weights or masks per element, no data,
    several matrices)."""
    if not batch.x.size or not batch.x.ndim:
        return None
    if op.joined(batch):
        return None
    if any(op.options[name].kind in BROADCAST and np.ndim(value) for name, value in batch.options.items()):
        return None
    if any(op.options[name].kind == "causal" and value for name, value in batch.options.items()):
        return None
    if op.named("matrix") and batch.x.ndim != 2:
        return None
    options = {name: value for name, value in batch.options.items() if name != "axis"}
    if op.by_row and "axis" not in op.options and batch.x.ndim == 2:
        return Rows(op, batch, dict(batch.inputs), options)
    axis = int(op.option(batch, "axis")) if op.by_row and "axis" in op.options else -1

    def flat(value: NDArray[Any]) -> NDArray[Any]:
        moved = np.moveaxis(value, axis, -1) if value.ndim == batch.x.ndim else value
        return moved.reshape(-1, moved.shape[-1]) if value.ndim == batch.x.ndim else value.reshape(-1)

    return Rows(op, batch, {name: flat(value) for name, value in batch.inputs.items()}, options)


def result_rows(op: Op, batch: Batch, values: NDArray[Any]) -> NDArray[Any]:
    """An array of the result's shape as [R, n] (one value per row: [R, 1]); a reduced loss as [1, 1]."""
    array = np.asarray(values)
    if array.ndim == 0:
        return array.reshape(1, 1)
    if op.result == "elements" and op.by_row:
        axis = int(op.option(batch, "axis")) if "axis" in op.options else -1
        array = np.moveaxis(array, axis, -1)
        return array.reshape(-1, array.shape[-1])
    return array.reshape(-1, 1) if op.by_row else array.reshape(-1, array.shape[-1])


def result_places(op: Op, batch: Batch) -> IntArray:
    """Flat position in the result of each entry of ``result_rows``."""
    shape = op.result_shape(batch)
    return result_rows(op, batch, np.arange(int(np.prod(shape, dtype=np.int64))).reshape(shape)).astype(np.int64)


def answer(op: Op, batch: Batch, outcome: Outcome) -> FloatArray | None:
    """The numbers of an outcome in the result's shape, or None where there are none of the right count."""
    if not isinstance(outcome, Returned) or outcome.value.dtype.kind in "cOSUM":
        return None
    shape = op.result_shape(batch)
    if outcome.value.size != int(np.prod(shape, dtype=np.int64)):
        return None
    return outcome.value.astype(np.float64).reshape(shape)


def trouble(words: str, outcome: Outcome) -> list[Hit]:
    """What is wrong with a call whatever it was made for: the process ended, or did not answer in time."""
    match outcome:
        case Died(how):
            return [Hit("crash", "fail", f"{words}: the process ended: {how}")]
        case TimedOut(seconds):
            return [Hit("timeout", "fail", f"{words}: no answer within {seconds:g} s")]
        case _:
            return []


def excused(op: Op, batch: Batch) -> NDArray[np.bool_]:
    """Where an intermediate of a sound algorithm may overflow, so that infinite and finite answers may alternate."""
    return limits_of(op, batch, POLICIES["standard"].machine(batch.form, batch.result_form)).wild


def compare(
    kind: str,
    words: str,
    form: FloatFormat,
    answers: tuple[FloatArray, FloatArray],
    limit: FloatArray,
    places: IntArray,
) -> list[Hit]:
    """The hit, if any, that follows from two answers to one question (all arrays of one shape).

    ``places`` are the elements' flat positions in the result of the batch that the hit is about.
    """
    first, second = answers
    with np.errstate(all="ignore"):
        differ = (first != second) & ~(np.isnan(first) & np.isnan(second))
        if not differ.any():
            return []
        excess = np.where(differ, _excess(first, second, limit, form), 0.0)
    worst = int(np.argmax(excess))
    beyond = int(np.count_nonzero(excess > 1))
    before, after = float(first.flat[worst]), float(second.flat[worst])
    digits = 9 if f"{before:.9g}" != f"{after:.9g}" else 17
    text = f"{words}: {before:.{digits}g} became {after:.{digits}g}"
    if beyond:
        return [Hit(kind, "fail", text, beyond, int(places.flat[worst]), None, float(excess.flat[worst]))]
    far = float(apart(form, first[differ], second[differ]).max())
    told = f"{text} (bits differ by up to {far:.4g} ulp, within the limit)"
    return [Hit(kind, "info", told, int(np.count_nonzero(differ)), int(places.flat[worst]), apart=far)]


def apart(form: FloatFormat, first: FloatArray, second: FloatArray) -> FloatArray:
    """How many steps of the format lie between the elements of two arrays.

    Zeros are equal, and so are NaNs; a NaN is infinitely far from a number. Values that only a wider format tells apart are
    one step apart.

    >>> from xent_verify.core.formats import FORMATS
    >>> apart(FORMATS["float16"], np.array([1.0, -0.0]), np.array([1.0 - 2.0**-11, 0.0]))
    array([1., 0.])
    """
    nan = np.isnan(first), np.isnan(second)
    numbers = ~(nan[0] | nan[1])
    steps = np.where(nan[0] != nan[1], np.inf, 0.0)
    a, b = first[numbers], second[numbers]
    with np.errstate(all="ignore"):
        between = form.ulp_distance(a.astype(form.dtype), b.astype(form.dtype)).astype(np.float64)
    steps[numbers] = np.maximum(between, a != b)
    return steps


def _excess(first: FloatArray, second: FloatArray, limit: FloatArray, form: FloatFormat) -> FloatArray:
    """|first - second| / (2 limit); an infinity against a number is placed at M + Q, NaN against a number is infinite.

    Large values are quartered, since M + Q is not a float64 for every format. A subnormal value against 0 is a matter
    of flushing, judged elsewhere: 0.
    """
    place = np.ldexp(1.0, form.e_max - 1)
    quarter = [np.where(np.isinf(value), np.sign(value) * place, value / 4) for value in (first, second)]
    large = np.maximum(np.abs(first), np.abs(second)) > 1
    ratio = np.where(large, 2 * (np.abs(quarter[0] - quarter[1]) / limit), np.abs(first - second) / limit / 2)
    small = np.minimum(np.abs(first), np.abs(second)) == 0
    flushed = small & (np.maximum(np.abs(first), np.abs(second)) < form.smallest_normal)
    ratio = np.where(flushed, 0.0, ratio)
    if form.has_nan and not form.has_inf:
        top = np.fmax(np.abs(first), np.abs(second)) >= form.max_finite
        ratio = np.where(top & (np.isnan(first) | np.isnan(second)), 0.0, ratio)
    return np.where(np.isnan(ratio), np.inf, ratio)
