"""Mistakes of place: another axis or order in memory, rows mixed up, results that were never written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from xent_verify.core import layouts
from xent_verify.diagnose.case import Array, Case, Prediction
from xent_verify.diagnose.inputs import right_values
from xent_verify.diagnose.mistake import Mistake
from xent_verify.diagnose.tampered import CAPS

__all__ = ["MISTAKES", "RESULTS"]


def _axes(case: Case) -> Iterator[Prediction]:
    """Along another axis, over all axes, or moved to the end without the way back."""
    x = case.batch.x
    if x.ndim < 2 or "axis" not in case.op.options:
        return
    given = int(case.op.option(case.batch, "axis")) % x.ndim
    for axis in range(x.ndim):
        if axis != given:
            other = replace(case, batch=replace(case.batch, options={**case.batch.options, "axis": axis}))
            values = other.result(other.right)
            if values.size == case.observed.size:
                yield f"the right result along axis {axis} in place of {given}", values.reshape(case.observed.shape)
    flat = case.rows.reshape(1, -1)
    if case.op.result == "elements":
        yield "the softmax over all axes at once", case.result(right_values(case, flat).reshape(case.rows.shape))
        values = right_values(case, case.rows)
        yield "the right rows, left in the order in which the axis is last", case.placed(values)
        dense = right_values(case, np.ascontiguousarray(x).reshape(-1, x.shape[given]).astype(case.dtype))
        yield "memory read as if the axis were the last one", case.placed(dense)


def _repeated(case: Case) -> Iterator[Prediction]:
    """f(f(x)), the first result rounded to the format."""
    if case.true.shape == case.batch.x.shape:
        once = replace(case, batch=replace(case.batch, inputs={"x": case.form.narrow(case.true)}))
        yield "the function of its own result", once.result(once.right)


def _storage(case: Case) -> Iterator[Prediction]:
    """The memory behind a view read in its own order: one argument's, or one option's."""
    layout, options = case.batch.layout, case.batch.options
    for name, array in case.batch.inputs.items():
        for words, values in _read_otherwise(array, layout):
            other = replace(case, batch=replace(case.batch, inputs={**case.batch.inputs, name: values}))
            which = "" if array is case.batch.x else f" of {name}"
            yield (
                f"the right result for the memory behind the view{which} ({layout}) {words}",
                other.result(other.right),
            )
    for name, value in options.items():
        for words, values in _read_otherwise(value, layout) if isinstance(value, np.ndarray) else ():
            other = replace(case, batch=replace(case.batch, options={**options, name: values}))
            yield (
                f"the right result for the memory behind the view of {name} ({layout}) {words}",
                other.result(other.right),
            )
    if case.batch.x.ndim > 1 and layouts.apply(case.batch.x, layout).strides[0] == 0:
        whole = case.true.copy()
        whole[1:] = 0
        yield "0 in all rows that share the first one's memory", whole


def _read_otherwise(array: Array, layout: str) -> Iterator[tuple[str, Array]]:
    """Values of the array's shape as they lie in memory, where that is another order than the view's."""
    view = layouts.apply(array, layout)
    memory = view
    while isinstance(memory.base, np.ndarray):
        memory = memory.base
    flat = memory.ravel(order="K")
    if flat.size < view.size or not view.ndim:
        return
    for words, values in (("read from its start", flat[: view.size]), ("read in its own order", view.ravel(order="K"))):
        if not np.array_equal(values, view.ravel()):
            yield words, values.reshape(view.shape)


def _other_rows(case: Case) -> Iterator[Prediction]:
    """Results of other rows."""
    if case.observed.ndim == 0 or len(case.true) < 2:
        return
    for step in (1, -1):
        yield f"the result of the row {'before' if step == 1 else 'after'}", np.roll(case.true, step, axis=0)
    yield "the first row's result in every row", np.broadcast_to(case.true[:1], case.true.shape)
    yield "the rows in reverse order", case.true[::-1]
    with np.errstate(all="ignore"):
        shared = case.total.sum()
        yield "one sum for all rows", case.result(case.terms / shared) if case.wants == "p" else case.true


def _spoilt(case: Case) -> Iterator[Prediction]:
    """What one row holds changes every row."""
    if not case.observed.ndim:
        return
    for words, rows in (
        ("holds a NaN", np.isnan(case.rows).any(axis=1)),
        ("is -inf throughout", np.isneginf(case.rows).all(axis=1)),
        ("holds a -inf", np.isneginf(case.rows).any(axis=1)),
        ("holds a +inf", np.isposinf(case.rows).any(axis=1)),
    ):
        for value in (np.nan, 0.0):
            every = np.full_like(case.true, value) if rows.any() else case.true
            yield f"{'NaN' if np.isnan(value) else '0'} in every row where one {words}", every


def _equal_rows(case: Case) -> Iterator[Prediction]:
    """Rows of equal logits are taken for padding."""
    if case.observed.ndim:
        equal = (case.rows == case.rows[:, :1]).all(axis=1, keepdims=True)
        yield "0 in rows of equal logits", _from_rows(case, np.where(equal, 0, case.by_row(case.true)))


def _far_below(case: Case) -> Iterator[Prediction]:
    """Rows far below the others are left out."""
    if not case.observed.ndim:
        return
    tops = case.rows.max(axis=1, initial=-np.inf)
    below = np.nan_to_num(tops, nan=-np.inf).max(initial=-np.inf) - tops
    for cap in CAPS:
        values = np.where((below > cap)[:, None], 0, case.by_row(case.true))
        yield f"0 in rows whose largest logit is {cap:g} below that of the batch", _from_rows(case, values)


def _unwritten(case: Case) -> Iterator[Prediction]:
    """Zeros where nothing was written: everywhere, from a row on, in whole rows."""
    if case.observed.ndim == 0:
        return
    yield "0 everywhere", np.zeros_like(case.true)
    blank = case.failing_rows
    shape = case.by_row(case.true).shape
    if blank.any() and not blank.all() and case.batch.x.ndim == 2:
        first, last = int(np.argmax(blank)), int(len(blank) - 1 - np.argmax(blank[::-1]))
        for words, rows in (
            (f"0 from row {first} on", slice(first, None)),
            (f"0 up to row {last}", slice(None, last + 1)),
        ):
            kept = case.by_row(case.true).copy()
            kept[rows] = 0
            if case.by_row(case.observed).shape == shape and kept.size == case.observed.size:
                yield words, _from_rows(case, kept)
        kept = np.where(blank[:, None], 0, case.by_row(case.true))
        yield f"0 in {int(blank.sum())} rows of {len(blank)}", _from_rows(case, kept)


def _from_rows(case: Case, values: Array) -> Array:
    axis = int(case.op.option(case.batch, "axis")) if "axis" in case.op.options else -1
    return values.T if case.observed.ndim == 2 and axis in (0, -2) else values.reshape(case.observed.shape)


_READ = "memory is read in another order than the view's"
RESULTS: tuple[Mistake, ...] = (
    Mistake("rows-spoilt", "what one row holds spoils the other rows", _spoilt, whole=True, special=True),
    Mistake("rows-skipped", "rows of equal logits are left out", _equal_rows, whole=True),
    Mistake("rows-compared", "rows are left out for what other rows hold", _far_below, whole=True),
    Mistake("not-written", "a part of the result is never written, or skipped", _unwritten, whole=True),
    Mistake("row-mix-up", "rows are mixed up", _other_rows, whole=True),
)
"""Of any operation."""

MISTAKES: tuple[Mistake, ...] = (
    Mistake("softmax-twice", "the function is applied once too often", _repeated, "axis", whole=True),
    Mistake("wrong-axis", "the wrong axis is reduced", _axes, "axis", whole=True),
    Mistake("storage-order", _READ, _storage, whole=True),
    *RESULTS,
)
"""About the result as a whole: the last to be tried, since a few values may fit by chance."""
