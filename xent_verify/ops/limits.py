"""Limits of one call: the error reading of the operation's algorithms, element by element.

The limit of an element is the largest error bound of the named sound algorithms on a given ``Machine``.
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

from xent_verify.core.formats import FloatArray
from xent_verify.core.model import Batch
from xent_verify.core.shapes import full
from xent_verify.ops.errors import Approximate, Errors
from xent_verify.ops.floats import Floats, Number
from xent_verify.ops.machine import Machine
from xent_verify.ops.op import SHARED, Op
from xent_verify.ops.rows import Rows

__all__ = ["Limits", "arguments_of", "limits_of", "run"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What sound algorithms may do with one call, in the result's shape.

    ``error``: largest absolute error (inf: they promise nothing). ``wild``: an intermediate may leave the machine's range,
    so that an infinity may come out. ``free``: a NaN may come out, too.
    """

    error: FloatArray
    wild: NDArray[np.bool_]
    free: NDArray[np.bool_]


def limits_of(op: Op, call: Batch, machine: Machine) -> Limits:
    """The limits of one call (float64, in the result's shape)."""
    with np.errstate(all="ignore"):
        reading = _reading(op, call, machine)
        arguments = arguments_of(op, call, reading)
        shape = op.result_shape(call)
        error = np.full(shape, reading.half_eta_store)  # below it no two floats differ
        wild, free = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
        for name in op.widest or op.algorithms:
            result = reading.store(op.algorithms[name](reading, **arguments))
            bound = np.where(np.isfinite(result.v) & ~np.isnan(result.error), result.error, np.inf)
            np.maximum(error, _placed(op, call, result, bound, shape), out=error)
            for total, mask in ((wild, result.wild), (free, result.free)):
                if mask is not None:
                    total |= _placed(op, call, result, mask, shape)
        return Limits(error, wild | free, free)


def _placed(op: Op, call: Batch, result: Approximate | Number, values: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """An array of the reading, which may broadcast, in the result's shape."""
    if op.result == "shared":
        return np.broadcast_to(values, result.v.shape).reshape(shape)
    view, width = Rows.of_call(op, call), op.result_width(call)
    if result.v.ndim == 0:
        return np.asarray(values).reshape(shape)
    rows = full(values, (view.count, width))
    return np.asarray(view.back(rows if op.result == "elements" and op.by_row else rows[:, 0]))


def _reading(op: Op, call: Batch, machine: Machine) -> Errors:
    view = Rows.of_call(op, call)
    width = max(view.n, op.scores_shape(call)[-1]) if op.named("matrix") else view.n
    terms = width * view.count if op.result in ("loss", "shared") else width  # added up at most
    special, reach = False, float(max(terms, 1))
    for name, value in (*call.inputs.items(), *call.options.items()):
        kind = op.inputs.get(name) or op.options[name].kind
        special |= (kind == "mask" and value is not None) or (kind == "causal" and bool(value))
        if kind in ("axis", "ignored_label", "reduction", "causal", "count", "flag") or value is None:
            continue
        array = np.asarray(value)
        if array.dtype.kind in "iub":
            continue
        size = np.abs(array.astype(np.float64))
        finite = np.isfinite(size)
        special |= not finite.all()
        size = size[finite]
        reach *= max(1.0, float(size.max(initial=0.0)))
        if kind == "divisor":
            reach *= max(1.0, float(1 / size.min(initial=1.0)) if size.all() else math.inf)
    watch = reach >= min(machine.store.max_finite, machine.steps.max_finite) / 16
    long = reach > 1e150 or (bool(op.named("matrix")) and machine.steps.bits == 64)  # what cancels, in more bits
    return Errors(machine, special=special, watch=watch, number=np.longdouble if long else np.float64)


def run(
    op: Op, name: str, call: Batch, machine: Machine, arithmetic: Callable[[Machine], Floats] = Floats
) -> NDArray[Any]:
    """One named algorithm of the operation, run on a call in the formats of a machine; the result's shape and format."""
    with np.errstate(all="ignore"):
        reading = arithmetic(machine)
        result = reading.store(op.algorithms[name](reading, **arguments_of(op, call, reading)))
        placed = _placed(op, call, result, result.v, op.result_shape(call))
        return placed.astype(machine.store.dtype)


def arguments_of(op: Op, call: Batch, a: Any, rows: slice | None = None) -> dict[str, Any]:
    """Inputs and options of a call as an algorithm takes them, lifted into a reading; ``rows``: only those."""
    some = slice(None) if rows is None else rows
    view = Rows.of_call(op, call)
    found: dict[str, Any] = {}
    for name, kind in op.inputs.items():
        array = call.inputs[name]
        if kind == "upstream":
            found[name] = a.input(_upstream(op, view, array)[some])
        elif kind in ("target", "label") and array.dtype.kind in "iub":
            found[name] = array.astype(np.int64).reshape(-1, 1)[some]
        elif kind in SHARED:
            found[name] = a.input(_groups(array, view, rows))
        elif kind == "row_number":
            found[name] = a.row(array.reshape(-1, 1)[some])
        else:
            found[name] = (a.row if kind == "row" else a.input)(view.of(array)[some])
    scores, usual = Rows.of_scores(op, call), call.x.dtype
    for name, option in op.options.items():
        if option.kind != "axis":
            found[name] = _option(op.option(call, name), option.kind, scores, a, some, usual)
    base = op.differentiates
    if rows is not None and base is not None and base.whole(call):  # some rows of a mean: they do not tell its divisor
        reduction = base.option_of("reduction")
        if base.option(call, reduction) == "mean":
            (upstream,) = (name for name, kind in op.inputs.items() if kind == "upstream")
            found |= {upstream: found[upstream] / _exactly(a, base.divisor(call)), reduction: "sum"}
    return found


def _exactly(a: Any, value: Fraction | float) -> Any:
    """A number of any length in a reading: the sum of floats that it is."""
    if isinstance(value, float):
        return a.input(np.array([[value]]))
    total, largest = a.input(np.zeros((1, 1))), Fraction(sys.float_info.max)
    while value:
        part = float(min(max(value, -largest), largest))
        total, value = total + a.input(np.array([[part]])), value - Fraction(part)
    return total


def _groups(array: NDArray[Any], view: Rows, rows: slice | None) -> NDArray[Any]:
    """Matrices as [G, k, n], one for as many successive rows each; of some ``rows`` (all rows of several, or of one) theirs."""
    matrices = array.reshape(-1, *array.shape[-2:])
    if rows is None:
        return matrices
    shared = max(view.shape[-2], 1)
    return matrices[rows.start // shared : -(-rows.stop // shared)]


def _upstream(op: Op, view: Rows, array: NDArray[Any]) -> NDArray[Any]:
    """A gradient in the result's shape of the operation that is differentiated, as rows of that result's width."""
    base = op.differentiates
    if base is not None and base.result != "elements":
        return full(array.reshape(-1, 1) if array.ndim else array, (view.count, 1))
    if base is not None and (base.named("values") or base.counted):  # a width of its own, along the last axis
        return array.reshape(view.count, array.shape[-1])
    return view.of(array)


def _causal(view: Rows) -> NDArray[Any]:
    """True where row i of each group of R keeps score j of k: j <= i + k - R (the last row keeps all)."""
    rows, k = view.shape[-2:]
    return np.tile(np.tri(rows, k, k - rows, dtype=np.bool_), (view.count // max(rows, 1), 1))


def _option(value: Any, kind: str, view: Rows, a: Any, rows: slice, usual: np.dtype[Any]) -> Any:
    match kind:
        case "class_weights" | "score_number" if value is not None:
            return a.input(np.asarray(value)[None, :])
        case "element_weights" if value is not None and np.asarray(value).dtype.itemsize < usual.itemsize:
            return a.narrower(view.of(np.asarray(value))[rows])
        case "element_weights" | "bias" if value is not None:
            return a.input(view.of(np.asarray(value))[rows])
        case "causal":
            return _causal(view)[rows] if value else None
        case "mask" if value is not None:
            return view.of(np.asarray(value))[rows]
        case "logit":
            return None if value is None or value == -math.inf else a.parameter(value)
        case "share" | "divisor" | "number" | "factor" | "cap":
            return None if value is None else a.parameter(value)
        case _:
            return value
