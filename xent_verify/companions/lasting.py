"""The same call tens of thousands of times, from several threads at once, and after calls in other formats."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from xent_verify.companions.known import Known, gravest, known_rows
from xent_verify.core.formats import FORMATS, FloatArray, IntArray
from xent_verify.core.model import Batch, Died, Outcome, Returned
from xent_verify.ops import Op
from xent_verify.verdict.judge import Hit
from xent_verify.verdict.properties import Ask, answer, result_rows, rows_view, trouble

__all__ = ["formats", "soak", "threads"]

_TIMES = 20_100
_THREADS, _TURNS = 4, 100
_SHARED = 20_000
"""Logits of a call that threads make: enough for one of them to be interrupted."""
_FORMATS = ("float64", "bfloat16", "float16", "float32")


def soak(ask: Ask, op: Op, batch: Batch, outcome: Returned, limit: FloatArray) -> list[Hit]:
    """Two rows, asked again and again: counters that run over, caches that fill, one bad answer in thousands."""
    rows = rows_view(op, batch)
    known = None if rows is None else _once(ask, op, batch, outcome, limit, np.unique([0, len(rows.x) - 1]))
    if known is None:
        return []
    few = known.rows.batch()
    return _compared(known, op, few, ask(replace(few, times=_TIMES)), f"one of {_TIMES:,} equal calls")


def threads(ask: Ask, op: Op, batch: Batch, outcome: Returned, limit: FloatArray) -> list[Hit]:
    """The rows, several times over, in another order in each of several threads."""
    rows = rows_view(op, batch)
    if rows is None:
        return []
    known = _once(ask, op, batch, outcome, limit, np.tile(np.arange(len(rows.x)), -(-_SHARED // rows.x.size)))
    if known is None:
        return []
    many = known.rows.batch()
    reply = ask(replace(many, times=_TURNS, threads=_THREADS))
    return _compared(known, op, many, reply, f"in one of {_THREADS} threads at once")


def _once(ask: Ask, op: Op, batch: Batch, outcome: Returned, limit: FloatArray, index: IntArray) -> Known | None:
    """Rows of the batch as a batch of its own, asked once: what a batch of that size does is no matter of state."""
    known = known_rows(ask, op, batch, outcome, limit)
    if known is None:
        return None
    part = known.rows.take(index)
    found = answer(op, part.batch(), ask(part.batch()))
    if found is None:
        return None
    values = result_rows(op, part.batch(), found)
    return Known(part, values, known.limit[index], known.places[index], known.free[index])


def _compared(known: Known, op: Op, asked: Batch, reply: Outcome, words: str) -> list[Hit]:
    """Of a reply that took too long nothing is said: it took the time of many calls."""
    found = answer(op, asked, reply)
    if found is None:
        return trouble(words, reply) if isinstance(reply, Died) else []
    return known.compare(
        "stateful", words, asked.result_form, np.arange(len(known.values)), result_rows(op, asked, found)
    )


def formats(ask: Ask, op: Op, batch: Batch, outcome: Returned, limit: FloatArray) -> list[Hit]:
    """The call again after an equal one in another format, where that is answered."""
    known = known_rows(ask, op, batch, outcome, limit)
    if known is None:
        return []
    rows = known.rows.batch()

    def after(name: str) -> list[Hit]:
        form = FORMATS[name]
        inputs = {
            key: form.narrow(batch.form.widen(value)) if value.dtype == batch.form.dtype else value
            for key, value in rows.inputs.items()
        }
        if not isinstance(ask(replace(rows, fmt=name, inputs=inputs)), Returned):
            return []
        return _compared(known, op, rows, ask(rows), f"after an equal call in {name}")

    return gravest(after(name) for name in _FORMATS if name in op.formats and name != batch.fmt)
