"""Calls that are made to find a cause: like one that fails, with other numbers, from ordinary ones up to the failing ones.

A cause must say of each row of them whether it fails, not only with what number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.formats import FloatArray
from xent_verify.core.model import Batch
from xent_verify.ops import Op
from xent_verify.ops.defined import undefined
from xent_verify.ops.op import BROADCAST
from xent_verify.ops.rows import Rows
from xent_verify.regimes.calls import dress, per_row
from xent_verify.regimes.draw import Draw

__all__ = ["fresh", "probes"]

_ROWS = 32
_LONGEST = 1 << 16
_WIDEST = 1 << 13
"""Length of rows beyond which such calls take long."""
_ZOOMS = 3
_FEW, _MANY = 3, 40
"""Calls of rows in parts of their size: of many rows (four times as many of a few), and of one or of one number."""
_LEAST = 2.0**-100
_SMALL = 1 << 13
"""Logits of a call of ordinary rows."""

Failing = Callable[[Batch], NDArray[np.bool_] | None]
"""Which values of a call's result are wrong; None where there is no answer to judge."""


def probes(op: Op, batch: Batch, failing: NDArray[np.bool_], fails: Failing) -> Iterator[Batch]:
    """Calls around a failing one: its rows in parts of their size, about the size from which they fail,
    rows of any spread about any number, ordinary rows with infinities and NaN.

    Args:
        op: The operation.
        batch: A failing call.
        failing: Which values of its result are wrong.
        fails: Asks the target another call.
    """
    view = Rows.of_call(op, batch)
    if op.differentiates is not None or not batch.x.size or view.n > _WIDEST:
        return
    base, bad = _many(op, batch, failing)
    found = fails(base)
    if found is None or not found.any():
        base, bad, found = batch, view.touched(failing), failing
        if batch.x.size > _LONGEST:
            return
    view = Rows.of_call(op, base)
    rng = np.random.default_rng(view.count)
    yield from _with_specials(op, base, bad, rng)
    yield from _with_masks(op, base, view, rng)
    if not np.isfinite(base.form.widen(view.of(base.x)[bad])).any():
        return
    yield from (call for seed in range(2) if (call := fresh(op, batch, failing, seed)) is not None)
    several = found.ndim > 0 and view.count > 3
    for number in range(_MANY if not several else _FEW if view.count >= _ROWS // 2 else 4 * _FEW):
        parts = rng.uniform(-1.1 if number % 2 else 0, 1.1, view.count)
        yield from _sized(op, base, view, parts, offsets=rng.uniform(-1, 1, view.count) * (number % 3 == 2))
        yield from _wild(op, base, view, rng)
    if found.ndim and view.count >= _ROWS // 2:
        yield from _about_edge(op, base, int(np.argmax(bad)), fails)


def _about_edge(op: Op, base: Batch, row: int, fails: Failing) -> Iterator[Batch]:
    """Parts of one row, nearer and nearer to the size from which it fails."""
    view = Rows.of_call(op, base)
    worst = np.full(view.count, row)
    parts = np.geomspace(_LEAST, 1.0, view.count)
    for _ in range(_ZOOMS):
        edge = 0.0
        for call in _sized(op, base, view, parts, worst):
            yield call
            wrong = fails(call)
            touched = np.zeros(1, np.int8) if wrong is None else view.touched(wrong).astype(np.int8)
            places = np.flatnonzero(np.diff(touched))
            if len(places):
                low, high = parts[places[-1]], parts[places[-1] + 1]
                edge, parts = high, np.linspace(low, high, view.count)
        if not edge:
            return
    yield from _sized(op, base, view, edge * (1 + np.linspace(-0.5, 0.5, view.count) ** 3), worst)


def _many(op: Op, batch: Batch, failing: NDArray[np.bool_]) -> tuple[Batch, NDArray[np.bool_]]:
    """The failing rows again and again, where rows can be taken by themselves; a reduced loss row by row."""
    view = Rows.of_call(op, batch)
    options = dict(batch.options)
    options |= {name: "none" for name, one in op.options.items() if one.kind == "reduction"}
    alone = view.axis is None or (batch.x.ndim == 2 and view.axis in (-1, 1))
    alone = alone and batch.layout != "broadcast" and not op.named("row_number")
    if not alone or any(one.kind == "causal" and name in options for name, one in op.options.items()):
        return replace(batch, options=options), view.touched(failing)
    rows = np.resize(np.flatnonzero(view.touched(failing)), max(min(_ROWS, _LONGEST // max(view.n, 1)), 2))
    if view.axis is None:
        flat = {name: value.reshape(-1)[rows] for name, value in batch.inputs.items()}
        for name in options:
            if np.ndim(options[name]):
                options[name] = np.broadcast_to(options[name], batch.x.shape).reshape(-1)[rows]
        return replace(batch, inputs=flat, options=options), np.ones(len(rows), np.bool_)
    shape = op.scores_shape(batch)
    for name in options:
        if op.options[name].kind in BROADCAST and np.ndim(options[name]):
            options[name] = np.broadcast_to(options[name], shape)[rows]
    inputs = op.of_rows(batch.inputs, lambda value: value[rows])
    return replace(batch, inputs=inputs, options=options), np.ones(len(rows), np.bool_)


def _sized(
    op: Op,
    batch: Batch,
    view: Rows,
    parts: FloatArray,
    rows: NDArray[np.int64] | None = None,
    offsets: FloatArray | None = None,
) -> Iterator[Batch]:
    """Finite logits of each row (or of others, ``rows``) times a number; ``offsets``: plus a part of the row's largest."""
    index = np.arange(view.count) if rows is None else rows
    inputs = {}
    for name, value in batch.inputs.items():
        if op.inputs[name] not in ("row", "row_number"):
            inputs[name] = value if name in op.shared else value.reshape(view.count, -1)[index].reshape(value.shape)
            continue
        taken = view.of(value)[index] if value.shape == view.shape else value.reshape(view.count, 1)[index]
        wide = batch.form.widen(taken)
        with np.errstate(all="ignore"):
            moved = wide * parts[:, None]
            if offsets is not None and value.shape == view.shape:
                largest = np.where(np.isfinite(wide), np.abs(wide), 0.0).max(axis=1, keepdims=True)
                moved = moved + (offsets * parts)[:, None] * largest
            wide = np.where(np.isfinite(wide), moved, wide)
        inputs[name] = batch.form.narrow(view.back(wide) if value.shape == view.shape else wide.reshape(value.shape))
    made = replace(batch, inputs=inputs)
    if not undefined(op, made):
        yield made


def _with_masks(op: Op, batch: Batch, view: Rows, rng: np.random.Generator) -> Iterator[Batch]:
    """Masks that keep no score of a row, some or all, and any scores."""
    name = next(
        (name for name, value in batch.options.items() if op.options[name].kind == "mask" and np.ndim(value)), ""
    )
    for _ in range(3 if name else 0):
        kept = rng.random(op.scores_shape(batch)) < rng.choice((0.0, 0.5, 1.0), (*op.scores_shape(batch)[:-1], 1))
        yield from _wild(op, replace(batch, options={**batch.options, name: kept}), view, rng)


def _wild(op: Op, batch: Batch, view: Rows, rng: np.random.Generator) -> Iterator[Batch]:
    """Other numbers in place of the finite logits: rows of any spread about any number, other labels.

    Of many rows a quarter stays.
    """
    rows = batch.form.widen(view.of(batch.x))
    spread, about = 10 ** (rng.choice((2.5, 4.5), (2, view.count, 1)) * rng.random((2, view.count, 1)))
    drawn = rng.standard_normal(rows.shape) * spread + about * rng.choice((-1, 0, 1), (view.count, 1))
    kept = (np.arange(view.count) % 4 == 0)[:, None] & (view.count >= _ROWS // 4)
    logits = view.back(batch.form.narrow(np.where(np.isfinite(rows) & ~kept, drawn, rows)))
    inputs = {**batch.inputs, op.first: logits}
    if op.labels and inputs[op.labels].dtype.kind in "iu":
        labels, n = inputs[op.labels], op.scores_shape(batch)[-1]
        other = rng.integers(0, max(n, 1), labels.shape).astype(labels.dtype)
        inputs[op.labels] = np.where((labels >= 0) & (labels < n), other, labels)
    made = replace(batch, inputs=inputs)
    if not undefined(op, made):
        yield made


def _with_specials(op: Op, batch: Batch, bad: NDArray[np.bool_], rng: np.random.Generator) -> Iterator[Batch]:
    """Rows of any spread, and such that hold infinities or NaN of the failing ones: at one place, at some, at all, up to a
    place, or from it on.

    Of the four calls the last has none of these; it alone is made where the failing rows hold none and are short.
    """
    view, form = Rows.of_call(op, batch), batch.form
    rows = form.widen(view.of(batch.x)[bad])
    special = np.unique(rows[~np.isfinite(rows)])
    if op.shared or op.named("row_number") or any(np.ndim(value) for value in batch.options.values()):
        return
    width = max(min(view.n, _SMALL // _ROWS), 6)
    options = {name: value for name, value in batch.options.items() if op.options[name].kind != "axis"} | per_row(op)
    for number in range(4) if len(special) else (3,) if view.n < width and op.by_row else ():
        ordinary = rng.standard_normal((_ROWS, width)) * 10 ** rng.uniform(0, 1.5 + number % 2, (_ROWS, 1))
        sort, place = np.arange(_ROWS)[:, None] % 6, rng.integers(0, width, (_ROWS, 1))
        taken = rng.random(ordinary.shape) < np.array([0.0, 0.0, 0.5, 1.0, 0.0, 0.0])[sort]
        column = np.arange(width)
        taken |= ((sort == 1) & (column == place)) | ((sort == 4) & (column < place)) | ((sort == 5) & (column > place))
        logits = form.narrow(
            np.where(taken & (number < 3), rng.choice(special if len(special) else [0.0], ordinary.shape), ordinary)
        )
        inputs = dress(op, Draw(form, rng), logits, plain=True)
        made = replace(batch, inputs=inputs, options=options)
        if not undefined(op, made):
            yield made


def fresh(op: Op, batch: Batch, failing: NDArray[np.bool_], seed: int) -> Batch | None:
    """A call like this one: rows that fail, with their logits in another order (seed 0) or moved by a few per cent.

    None where rows cannot be taken by themselves (other axes than the last of two) or the result is no call of the operation.
    """
    view = Rows.of_call(op, batch)
    last = view.axis is None or (batch.x.ndim == 2 and view.axis in (-1, 1))
    if not last or not batch.x.size or view.n > _LONGEST or op.differentiates is not None:
        return None
    bad = _failing_rows(view, failing)
    rng = np.random.default_rng(seed + 1)
    count = max(min(_ROWS, _LONGEST // max(view.n, 1)), 2)
    rows = np.resize(bad, count)
    if op.named("matrix"):
        return _fresh_products(op, batch, failing, rng)
    weighted = any(op.options[name].kind == "class_weights" for name in batch.options)
    shuffle = seed == 0 and view.n > 2 and not weighted
    order = (
        np.argsort(rng.random((count, view.n)), axis=1)
        if shuffle
        else np.broadcast_to(np.arange(view.n), (count, view.n))
    )
    inputs = {}
    for number, (name, value) in enumerate(batch.inputs.items()):
        if value.dtype.kind in "iub":
            inputs[name] = _moved_labels(value[rows], order)
            continue
        if op.inputs[name] == "row_number":
            inputs[name] = value[rows]
            continue
        taken = np.take_along_axis(view.of(value)[rows].astype(np.float64), order, 1)
        if number == 0 and not shuffle:
            with np.errstate(over="ignore"):
                taken = taken * (1 + rng.uniform(-0.05, 0.05, taken.shape))
        inputs[name] = batch.form.narrow(taken if view.axis is not None else taken[:, 0])
    options = {
        name: _of_rows(view, np.asarray(value), rows, order) if op.options[name].kind in BROADCAST else value
        for name, value in batch.options.items()
        if op.options[name].kind != "axis"
    }
    made = replace(batch, inputs=inputs, options=options)
    return None if undefined(op, made) else made


def _fresh_products(op: Op, batch: Batch, failing: NDArray[np.bool_], rng: np.random.Generator) -> Batch | None:
    """Rows that fail, their numbers moved by a few per cent, against the same matrix."""
    view = Rows.of_call(op, batch)
    rows = np.resize(_failing_rows(view, failing), _ROWS)
    taken = batch.form.widen(batch.x[rows])
    with np.errstate(over="ignore"):
        moved = batch.form.narrow(taken * (1 + rng.uniform(-0.05, 0.05, taken.shape)))
    inputs = {**op.of_rows(batch.inputs, lambda value: value[rows]), op.first: moved}
    options = {
        name: np.broadcast_to(value, op.scores_shape(batch))[rows] if np.ndim(value) > 1 else value
        for name, value in batch.options.items()
    }
    made = replace(batch, inputs=inputs, options=options)
    return None if undefined(op, made) else made


def _of_rows(view: Rows, value: NDArray[Any], rows: NDArray[np.int64], order: NDArray[np.int64]) -> NDArray[Any]:
    """Weights or a mask of each element, after the classes were put in another order."""
    taken = np.take_along_axis(view.of(value)[rows], order, 1)
    return taken if view.axis is not None else taken[:, 0]


def _failing_rows(view: Rows, failing: NDArray[np.bool_]) -> NDArray[np.int64]:
    return np.flatnonzero(view.touched(failing))


def _moved_labels(labels: NDArray[Any], order: NDArray[np.int64]) -> NDArray[Any]:
    """Class labels after the classes were put in another order; labels that are none stay."""
    moved = labels.copy()
    inside = (labels >= 0) & (labels < order.shape[1])
    place = np.argsort(order, axis=1)
    moved[inside] = place[np.flatnonzero(inside), labels[inside].astype(np.int64)]
    return moved
