"""Mistakes of any operation: its page's own algorithms with a step changed, in narrower formats, or of another call.

Nothing is known of the operation but its page, so that this table holds for all of them, a caller's own too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import ml_dtypes
import numpy as np

from xent_verify.core.formats import FloatArray
from xent_verify.core.model import Batch
from xent_verify.diagnose import inputs, readings, tampered, values
from xent_verify.diagnose.case import Array, Case, Prediction
from xent_verify.diagnose.mistake import Mistake
from xent_verify.ops.floats import Number
from xent_verify.ops.limits import run
from xent_verify.ops.rows import Rows

__all__ = ["MISTAKES"]


def _answers(case: Case, changes: tampered.Changes, dtype: np.dtype[np.generic]) -> Iterator[tuple[str, FloatArray]]:
    """Each algorithm of the page with steps changed, in ``dtype``; those in base 2 are left out where others have exp.

    A change that changes nothing is no mistake.
    """
    reading = partial(tampered.Tampered, changes=changes)
    names = [name for name in case.op.algorithms if "exp2" not in name]
    for name in names or case.op.algorithms:
        value = case.placed(run(case.op, name, case.batch, case.machine(dtype), reading))
        if not changes or not np.array_equal(value, case.plain(name), equal_nan=True):
            yield f"'{name}'", value


def _step(variants: Callable[[Case], tampered.Variants]) -> Callable[[Case], Iterator[Prediction]]:
    def model(case: Case) -> Iterator[Prediction]:
        for words, changes in variants(case):
            for name, value in _answers(case, changes, case.dtype):
                yield f"{words} in {name}", value

    return model


def _cheap(_: Case) -> tampered.Variants:
    for words, exponential in values.EXPONENTIALS:
        yield words, {"exp": lambda a, _right, x, f=exponential: Number(a, f(x.v))}


def _narrow(case: Case) -> Iterator[Prediction]:
    for dtype in (np.dtype(np.float32), case.own, np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)):
        if dtype.itemsize < case.dtype.itemsize:
            for name, value in _answers(case, {}, dtype):
                yield f"{name}, all of it in {dtype.name}", value


def _masks(case: Case) -> dict[str, Array]:
    """The masks that the call was given."""
    given = case.batch.options.items()
    return {name: value for name, value in given if case.op.options[name].kind == "mask" and value is not None}


def _masked_late(case: Case) -> Iterator[Prediction]:
    masks = _masks(case)
    if masks and case.op.result == "elements" and not case.op.named("values"):
        bare = _with_options(case, dict.fromkeys(masks, None))
        kept = np.all([np.broadcast_to(mask, case.op.scores_shape(case.batch)) for mask in masks.values()], axis=0)
        for name, value in _answers(bare, {}, case.dtype):
            yield f"{name} without a mask, and 0 for what is masked", np.where(kept, value, 0.0)


def _right(case: Case) -> FloatArray:
    """The answer of the first algorithm."""
    return case.plain(next(iter(case.op.algorithms)))


def _with_options(case: Case, options: Mapping[str, Any]) -> Case:
    return replace(case, batch=replace(case.batch, options={**case.batch.options, **options}))


def _option_left_out(case: Case) -> Iterator[Prediction]:
    for name, value in case.batch.options.items():
        option = case.op.options[name]
        if option.kind not in ("axis", "reduction") and not np.array_equal(value, option.default):
            yield f"the right result without {name}", _right(_with_options(case, {name: option.default}))
        if option.kind == "score_number" and value is not None:
            n = len(value)
            for k in sorted({n // width * width for width in tampered.WIDTHS if width > 4} - {0, n}):
                some = np.where(np.arange(n) < k, value, 0).astype(value.dtype)
                yield f"the right result without {name} from class {k} on", _right(_with_options(case, {name: some}))


_BOUNDS = (0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 50.0, 100.0)
"""Where numbers are bounded."""


def _option_misread(case: Case) -> Iterator[Prediction]:
    """A number inverted, squared, applied to the result, or to what is added later."""
    options, kinds = case.batch.options, {name: one.kind for name, one in case.op.options.items()}
    numbers = {name: float(value) for name, value in options.items() if kinds[name] in ("factor", "divisor")}
    for name, value in numbers.items():
        yield f"1 / {name} in place of {name}", _right(_with_options(case, {name: 1 / value}))
        for bound in _BOUNDS:
            if bound != value:
                yield f"{name} taken as {bound:g}", _right(_with_options(case, {name: bound}))
        yield f"{name} taken twice", _right(_with_options(case, {name: value * value}))
        after = _right(_with_options(case, {name: case.op.options[name].default}))
        yield f"{name} applied to the result", after / value if kinds[name] == "divisor" else after * value
        added = {other: array for other, array in options.items() if kinds[other] == "bias" and array is not None}
        scale = value if kinds[name] == "factor" else 1 / value
        for other, array in added.items():
            scaled = (np.asarray(array).astype(np.float64) * scale).astype(np.asarray(array).dtype)
            yield f"{name} applied to {other}, too", _right(_with_options(case, {other: scaled}))
    for name in (name for name, kind in kinds.items() if kind == "flag"):
        yield (
            f"{name} taken for its opposite",
            _right(_with_options(case, {name: not case.op.option(case.batch, name)})),
        )
    if any(kinds[name] == "causal" and value for name, value in options.items()):
        shape = case.op.scores_shape(case.batch)
        name = next(name for name in options if kinds[name] == "causal")
        mask = next((other for other, kind in kinds.items() if kind == "mask"), "")
        given = options.get(mask)
        for offset in (0, shape[-1] - shape[-2] + 1, shape[-1] - shape[-2] - 1):
            kept = np.broadcast_to(np.tri(shape[-2], shape[-1], offset, dtype=np.bool_), shape)
            kept = kept if given is None else kept & given
            words = f"{name} with scores j <= i + {offset} kept"
            yield words, _right(_with_options(case, {name: False, mask: kept}))


def _reduced_otherwise(case: Case) -> Iterator[Prediction]:
    """A mean by another divisor, a mean for a sum and the reverse."""
    name = case.op.option_of("reduction")
    how = case.op.option(case.batch, name) if name else "none"
    if how == "none":
        return
    rows = _right(replace(_with_options(case, {name: "none"}), observed=np.zeros(len(case.rows))))
    total, count = rows.sum(), len(rows)
    mean = _right(_with_options(case, {name: "mean"}))
    yield "the sum", case.placed(np.asarray(total))
    yield "the sum divided by the number of all rows", case.placed(np.asarray(total / max(count, 1)))
    yield "the sum divided by the number of rows with a loss", case.placed(np.asarray(total / np.count_nonzero(rows)))
    yield "the mean", mean
    yield "the mean times the number of rows", mean * count


def _labels_changed(case: Case) -> Iterator[Prediction]:
    """Labels that are off, wrap, are rounded, or are not ignored."""
    name = case.op.labels
    labels = case.batch.inputs[name] if name else np.zeros(0)
    if not name or labels.dtype.kind not in "iu":
        return
    ids, n = labels.astype(np.int64), case.op.scores_shape(case.batch)[-1]
    inside = (ids >= 0) & (ids < n)
    ignored = next((one for one, option in case.op.options.items() if option.kind == "ignored_label"), "")
    moved = [
        (f"labels kept as {kind}", ids.astype(kind).astype(np.int64)) for kind in ("uint8", "int8", "uint16", "int16")
    ]
    moved += [
        (f"labels rounded to {t.name}", ids.astype(t).astype(np.int64))
        for t in (np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))
    ]
    moved += [("labels one too high", ids + 1), ("labels one too low", ids - 1)]
    for k in (n // 2, -(-n // 2)):
        moved += [(f"labels from {k} on one too high", np.where(ids >= k, ids + 1, ids))]
        moved += [(f"labels from {k} on one too low", np.where(ids >= k, ids - 1, ids))]
    for words, other in moved:
        yield words, _labelled(case, name, np.where(inside, other % max(n, 1), ids))
    if ignored and not inside.all():
        for words, other in (("class 0", np.zeros_like(ids)), ("their label modulo C", ids % max(n, 1))):
            counted = _with_options(case, {ignored: -(2**31)})
            yield f"labels to ignore counted as {words}", _labelled(counted, name, np.where(inside, ids, other))


def _labelled(case: Case, name: str, labels: Array) -> FloatArray:
    return _right(_with_inputs(case, {name: labels}))


def _on(change: inputs.Changed) -> Callable[[Case], Iterator[Prediction]]:
    """The first algorithm on other logits [R, n]."""

    def model(case: Case) -> Iterator[Prediction]:
        first = next(iter(case.op.algorithms))
        for words, rows in change(case):
            yield words, case.placed(run(case.op, first, _with_logits(case, rows), case.machine(case.dtype)))
        yield from _on_every_number(case, change)

    return model


def _on_every_number(case: Case, change: inputs.Changed) -> Iterator[Prediction]:
    """All inputs of one number a row changed in one way."""
    columns = {name: case.batch.inputs[name] for name, kind in case.op.inputs.items() if kind == "row_number"}
    if columns:
        together = np.stack([value.reshape(-1) for value in columns.values()], axis=1)
        for words, rows in change(case.with_rows(together)):
            moved = {name: rows[:, k].reshape(columns[name].shape) for k, name in enumerate(columns)}
            yield f"{words} of every row", _right(_with_inputs(case, moved))


def _with_inputs(case: Case, changed: Mapping[str, Array]) -> Case:
    return replace(case, batch=replace(case.batch, inputs={**case.batch.inputs, **changed}))


def _with_logits(case: Case, rows: Array) -> Batch:
    logits = Rows.of_call(case.op, case.batch).back(rows if case.op.by_row else rows[:, 0])
    return replace(case.batch, inputs={**case.batch.inputs, case.op.first: logits})


def _offset_cancels(case: Case) -> Iterator[Prediction]:
    """logsumexp(x) - Σ p·x in the working precision, and in the logits' own format: entropy, as trainers compute it."""
    for dtype in dict.fromkeys((case.dtype, case.own)):
        own = case.computed_in(dtype)
        yield (
            f"logsumexp(x) - Σ p·x in {dtype.name}",
            own.placed(own.lse[:, 0] - (own.p * own.rows).sum(axis=1)),
        )


MISTAKES: tuple[Mistake, ...] = (
    Mistake("mask-after", "masked results are put to 0, their part of the sum stays", _masked_late),
    Mistake("option-left-out", "an option is ignored", _option_left_out),
    Mistake("option-misread", "an option is applied otherwise than it is meant", _option_misread),
    Mistake("reduction", "losses are not divided by what they should be", _reduced_otherwise),
    Mistake("class-ids", "labels are changed on the way, or not ignored", _labels_changed),
    *(Mistake(key, sentence, _step(variants), special=special) for key, sentence, variants, special in tampered.STEPS),
    Mistake("cheap-exp", "the exponential is of low accuracy", _step(_cheap)),
    Mistake("offset-cancels", "an offset of the logits stays in two terms that cancel", _offset_cancels),
    *(Mistake(key, sentence, _on(change), special=special) for key, sentence, change, special in inputs.CHANGES),
    Mistake(inputs.NARROW_WORK.key, inputs.NARROW_WORK.sentence, _narrow),
    *values.RESULTS,
    *readings.RESULTS,
)
"""The table for every operation; keys and sentences that the other table has are those of it."""
