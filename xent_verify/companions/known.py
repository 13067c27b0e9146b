"""What companions compare with: an answer by rows, or whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from xent_verify.core.formats import FloatArray, FloatFormat, IntArray
from xent_verify.core.model import Batch, Returned
from xent_verify.core.shapes import full
from xent_verify.ops import Op
from xent_verify.truth import certify
from xent_verify.verdict.judge import Hit
from xent_verify.verdict.properties import Ask, Rows, answer, compare, excused, result_places, result_rows, rows_view

__all__ = ["Companion", "Known", "gravest", "known_rows", "true_rows", "whole"]

Run = Callable[[Ask, Op, Batch, Returned, FloatArray], list[Hit]]


@dataclass(frozen=True, slots=True)
class Companion:
    """One companion: ``run(ask, op, batch, outcome, limit)`` gives hits of ``kind`` (or a crash, a timeout).

    ``outcome`` is the answer to ``batch``; ``limit`` the largest absolute error allowed per element of its result.
    ``when``: around every chosen call, around the first one, or ("lasting") around the first one unless time is short;
    "longest": around the call of the longest rows. Where invariance is required there is time, and "longest" is every chosen
    call and one of each length of a vocabulary.
    """

    name: str
    kind: str
    run: Run
    when: Literal["always", "once", "lasting", "longest"] = "always"


@dataclass(frozen=True, slots=True)
class Known:
    """An answer by rows: values, limits, flat places in the result, and which elements take no part."""

    rows: Rows
    values: FloatArray
    limit: FloatArray
    places: IntArray
    free: FloatArray

    def compare(self, kind: str, words: str, form: FloatFormat, index: IntArray, other: FloatArray) -> list[Hit]:
        """Compare rows ``index`` of what is known with another answer to them."""
        first = np.where(self.free[index] > 0, 0.0, self.values[index])
        second = np.where(self.free[index] > 0, 0.0, other.reshape(first.shape))
        return compare(kind, words, form, (first, second), self.limit[index], self.places[index])


def known_rows(ask: Ask, op: Op, batch: Batch, outcome: Returned, limit: FloatArray) -> Known | None:
    """The batch by rows (asked again in two dimensions if need be); None where rows do not stand alone."""
    rows = rows_view(op, batch)
    values = answer(op, batch, outcome)
    if rows is None or values is None:
        return None
    if batch.x.ndim != 2 or batch.layout != "C" or (op.by_row and int(batch.options.get("axis", -1)) not in (-1, 1)):
        flat = rows.batch()
        found = answer(op, flat, ask(flat))
        if found is None:
            return None
        by_row = result_rows(op, flat, found)
    else:
        by_row = result_rows(op, batch, values)
    limits, free = (result_rows(op, batch, full(a, values.shape)) for a in (limit, excused(op, batch)))
    return Known(rows, by_row, limits, result_places(op, batch), free.astype(np.float64))


def true_rows(op: Op, batch: Batch) -> FloatArray:
    """The true values of a call as rows, rounded to the format of its result."""
    form = batch.result_form
    return result_rows(op, batch, form.widen(certify(batch).rounded(form)))


def whole(
    kind: str, words: str, op: Op, batch: Batch, values: tuple[FloatArray, FloatArray], limit: FloatArray
) -> list[Hit]:
    """Compare two answers to the whole batch."""
    free = excused(op, batch)
    first, second = (np.where(free, 0.0, value) for value in values)
    places = np.arange(first.size).reshape(first.shape)
    return compare(kind, words, batch.result_form, (first, second), full(limit, first.shape), places)


def gravest(found: Iterator[list[Hit]]) -> list[Hit]:
    """The first failure (later calls are not made), else the answers that are farthest apart."""
    kept: list[Hit] = []
    for hits in found:
        if any(hit.severity == "fail" for hit in hits):
            return hits
        if _apart(hits) > _apart(kept):
            kept = hits
    return kept


def _apart(hits: list[Hit]) -> float:
    return max((hit.apart or 0.0 for hit in hits), default=-1.0)
