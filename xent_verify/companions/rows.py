"""Rows alone, among other neighbours, in other places."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from xent_verify.companions.known import gravest, known_rows
from xent_verify.core.formats import FloatArray, IntArray
from xent_verify.core.model import Batch, Returned
from xent_verify.ops import Op
from xent_verify.verdict.judge import Hit
from xent_verify.verdict.properties import Ask, Rows, answer, result_rows, trouble

__all__ = ["alone", "chunks", "neighbours", "telling_rows"]

_COPIES = 9


_COPIED_LOGITS = 4000


def telling_rows(rows: Rows) -> IntArray:
    """First, last, and those of largest and smallest maximum."""
    with np.errstate(all="ignore"):
        peaks = np.nan_to_num(rows.wide.max(axis=1), nan=0.0)
    return np.unique([0, len(peaks) - 1, int(peaks.argmax()), int(peaks.argmin())])


def alone(ask: Ask, op: Op, batch: Batch, outcome: Returned, limit: FloatArray) -> list[Hit]:
    """A few rows, each as a batch of its own, against the row in its batch."""
    known = known_rows(ask, op, batch, outcome, limit)
    if known is None or len(known.rows.x) < 2:
        return []

    def single(row: int) -> list[Hit]:
        words = f"row {row} alone"
        one = known.rows.take([row]).batch()
        reply = ask(one)
        found = answer(op, one, reply)
        if found is None:
            return trouble(words, reply)
        return known.compare("batch_dependence", words, batch.result_form, np.array([row]), found)

    return gravest(single(int(row)) for row in telling_rows(known.rows))


def chunks(ask: Ask, op: Op, batch: Batch, outcome: Returned, limit: FloatArray) -> list[Hit]:
    """The batch in chunks, of a half and of three rows: the first, the middle and the last of them."""
    known = known_rows(ask, op, batch, outcome, limit)
    if known is None:
        return []
    count = len(known.rows.x)

    def chunk(start: int, size: int) -> list[Hit]:
        index = np.arange(start, min(start + size, count))
        words = f"rows {index[0]} to {index[-1]} as a batch"
        part = known.rows.take(index).batch()
        reply = ask(part)
        found = answer(op, part, reply)
        if found is None:
            return trouble(words, reply)
        return known.compare("batch_dependence", words, batch.result_form, index, result_rows(op, part, found))

    cuts = []
    for size in {-(-count // 2), 3}:
        starts = range(0, count, size)
        cuts += [(start, size) for start in {starts[0], starts[len(starts) // 2], starts[-1]} if size < count]
    return gravest(chunk(*cut) for cut in sorted(cuts))


def neighbours(ask: Ask, op: Op, batch: Batch, outcome: Returned, limit: FloatArray) -> list[Hit]:
    """Rows among other neighbours and in other places: the values of a row are its own."""
    known = known_rows(ask, op, batch, outcome, limit)
    if known is None:
        return []

    def beside(words: str, company: Rows, kept: IntArray, index: IntArray) -> list[Hit]:
        crowd = company.batch()
        reply = ask(crowd)
        found = answer(op, crowd, reply)
        if found is None:
            return trouble(words, reply)
        return known.compare("batch_dependence", words, batch.result_form, index, result_rows(op, crowd, found)[kept])

    return gravest(beside(*call) for call in _company(known.rows))


def _company(rows: Rows) -> Iterator[tuple[str, Rows, IntArray, IntArray]]:
    """(words, rows to call with, where the known rows are among them, which known rows)."""
    form, n = rows.like.form, rows.x.shape[1]
    chosen = telling_rows(rows)
    kept = 2 * np.arange(len(chosen)) + 1
    spread = np.zeros(2 * len(chosen) + 1, np.int64)
    spread[kept] = chosen
    sign = np.where(np.arange(n) % 2, -1.0, 1.0)
    fills = [("the largest values", sign * form.max_finite), ("the lowest value", np.full(n, -form.max_finite))]
    fills += [("zeros", np.zeros(n))]
    fills += [("NaN", np.full(n, np.nan))] if form.has_nan else []
    fills += [("-inf", np.full(n, -np.inf))] if form.has_inf else []
    crowd = rows.take(spread)
    for name, fill in fills:
        inputs = {}
        for key, value in crowd.inputs.items():
            strangers = value.copy()
            if value.dtype.kind not in "iu" and key not in rows.op.shared:
                strangers[::2] = form.narrow(fill if value.ndim > 1 else fill[0])
            inputs[key] = strangers
        yield f"beside rows of {name}", replace(crowd, inputs=inputs), kept, chosen
    count = len(rows.x)
    if count > 1:
        back = np.arange(count)[::-1]
        yield "rows in reverse order", rows.take(back), np.arange(count), back
    if rows.x.size <= _COPIED_LOGITS:
        copies = np.tile(np.arange(count), _COPIES)
        yield f"the batch {_COPIES} times over", rows.take(copies), np.arange(len(copies)), copies
