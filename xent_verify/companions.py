"""Companion calls: a second question whose answer must agree with the first, and needs no truth.

A companion makes a few calls around one that was answered: the same again, with other calls between, each row alone,
beside other rows, in other places and layouts. One entry of ``COMPANIONS`` each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from xent_verify.formats import FloatArray, FloatFormat, IntArray
from xent_verify.judge import Hit
from xent_verify.model import LAYOUTS, Batch, Raised, Returned
from xent_verify.ops import Op
from xent_verify.properties import Ask, Rows, answer, compare, excused, result_places, result_rows, rows_view, trouble

__all__ = ["COMPANIONS", "Companion"]

Run = Callable[[Ask, Op, Batch, Returned, FloatArray], list[Hit]]

_REPEATS = 3
_COPIES = 9
_COPIED_LOGITS = 4000


@dataclass(frozen=True, slots=True)
class Companion:
    """One companion: ``run(ask, op, batch, outcome, limit)`` gives hits of ``kind`` (or a crash, a timeout).

    ``outcome`` is the answer to ``batch``; ``limit`` the largest absolute error allowed per element of its result.
    """

    name: str
    kind: str
    run: Run


@dataclass(frozen=True, slots=True)
class _Known:
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


def _known(ask: Ask, op: Op, batch: Batch, outcome: Returned, limit: FloatArray) -> _Known | None:
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
    limits, free = (result_rows(op, batch, np.broadcast_to(a, values.shape)) for a in (limit, excused(op, batch)))
    return _Known(rows, by_row, limits, result_places(op, batch), free.astype(np.float64))


def _whole(
    kind: str, words: str, op: Op, batch: Batch, values: tuple[FloatArray, FloatArray], limit: FloatArray
) -> list[Hit]:
    """Compare two answers to the whole batch."""
    free = excused(op, batch)
    first, second = (np.where(free, 0.0, value) for value in values)
    places = np.arange(first.size).reshape(first.shape)
    return compare(kind, words, batch.form, (first, second), np.broadcast_to(limit, first.shape), places)


def _gravest(found: Iterator[list[Hit]]) -> list[Hit]:
    """The first failure (later calls are not made), else the first piece of information."""
    kept: list[Hit] = []
    for hits in found:
        if any(hit.severity == "fail" for hit in hits):
            return hits
        kept = kept or hits
    return kept


def _repeat(ask: Ask, op: Op, batch: Batch, outcome: Returned, limit: FloatArray) -> list[Hit]:
    """The same call again and again: answers that differ among themselves, or all from the earlier one."""
    first = answer(op, batch, outcome)
    if first is None:
        return []
    again = [ask(batch) for _ in range(_REPEATS)]
    for outcome_again in again:
        if isinstance(outcome_again, Raised):
            text = f"the same call again raises {outcome_again.type_name}: {outcome_again.message}"
            return [Hit("nondeterministic", "fail", text)]
        if bad := trouble("the same call again", outcome_again):
            return bad
    answers = [value for outcome_again in again if (value := answer(op, batch, outcome_again)) is not None]
    if len(answers) < _REPEATS:
        return [Hit("nondeterministic", "fail", "the same call again answers in another shape")]
    words = "the same call again"
    among = (_whole("nondeterministic", words, op, batch, (answers[0], other), limit) for other in answers[1:])
    found = _gravest(among)
    return found or _whole("stateful", "the same call, later", op, batch, (first, answers[0]), limit)


def _state(ask: Ask, op: Op, batch: Batch, outcome: Returned, limit: FloatArray) -> list[Hit]:
    """Other calls between: very different values, NaN, a wider row; then the call itself again."""
    first = answer(op, batch, outcome)
    if first is None:
        return []

    def after(name: str, other: Batch) -> list[Hit]:
        if bad := trouble(f"a call with {name}", ask(other)):
            return bad
        words = f"after a call with {name}"
        last = ask(batch)
        if isinstance(last, Raised):
            return [Hit("stateful", "fail", f"{words}: raises {last.type_name}: {last.message}")]
        again = answer(op, batch, last)
        return trouble(words, last) if again is None else _whole("stateful", words, op, batch, (first, again), limit)

    return _gravest(after(*call) for call in _disturbances(op, batch)) or _stale(ask, op, batch, first)


def _disturbances(op: Op, batch: Batch) -> Iterator[tuple[str, Batch]]:
    """Calls of the same shape with other values, and a wider one where no option has a width."""
    form, wide = batch.form, batch.form.widen(batch.x)
    big = np.where(np.arange(wide.size).reshape(wide.shape) % 2, -1.0, 1.0) * min(1000.0, form.max_finite / 4)
    name = next(iter(batch.inputs))

    def other(values: FloatArray) -> Batch:
        return replace(batch, inputs={**batch.inputs, name: form.narrow(values)}, layout="C")

    yield "large values", other(big)
    yield "NaN", other(np.full(wide.shape, np.nan))
    rows = rows_view(op, batch)
    if rows is not None and not any(isinstance(value, np.ndarray) for value in batch.options.values()):
        wider = {
            key: np.concatenate([value, value, value[:, :1]], axis=1) if value.ndim == 2 else value
            for key, value in rows.inputs.items()
        }
        yield "wider rows", replace(rows, inputs=wider).batch()


_STALE_OPTIONS = {"axis", "reduction", "label_smoothing"}
_STALE_OPS = ("softmax", "log_softmax", "logsumexp", "cross_entropy", "cross_entropy_grad")


def _stale(ask: Ask, op: Op, batch: Batch, values: FloatArray) -> list[Hit]:
    """Logit 1 raised by 8 + log n + max |x|, where it was not the only maximum: the same bits are an earlier answer.

    p_1 was at most 1/2 and its odds grow by e^8 at least; logsumexp and the losses of other classes grow by more than
    their own roundings in every format.
    """
    rows = rows_view(op, batch)
    if rows is None or rows.x.shape[1] < 3 or op.name not in _STALE_OPS or not batch.options.keys() <= _STALE_OPTIONS:
        return []
    wide = rows.wide
    with np.errstate(all="ignore"):
        raised = wide.max(axis=1) + 8.0 + np.log(wide.shape[1]) + np.abs(wide).max(axis=1)
        live = np.isfinite(wide).all(axis=1) & (np.abs(raised) < batch.form.max_finite / 4)
        live &= np.delete(wide, 1, axis=1).max(axis=1) >= wide[:, 1]
    if "target" in rows.inputs:
        target = rows.inputs["target"]
        live &= (target != 1) & (target != -100) if target.ndim == 1 else False
    if not live.any():
        return []
    changed = wide.copy()
    changed[live, 1] = raised[live]
    twin = rows.with_logits(changed).batch()
    found = answer(op, twin, ask(twin))
    if found is None:
        return []
    stuck = live & (result_rows(op, batch, values) == result_rows(op, twin, found)).all(axis=1)
    if not stuck.any():
        return []
    text = "a row with another logit in its middle gets the answer of an earlier call"
    place = int(result_places(op, batch)[np.argmax(stuck), 0])
    return [Hit("stateful", "fail", text, int(stuck.sum()), place)]


def _telling_rows(rows: Rows) -> IntArray:
    """First, last, and those of largest and smallest maximum."""
    with np.errstate(all="ignore"):
        peaks = np.nan_to_num(rows.wide.max(axis=1), nan=0.0)
    return np.unique([0, len(peaks) - 1, int(peaks.argmax()), int(peaks.argmin())])


def _alone(ask: Ask, op: Op, batch: Batch, outcome: Returned, limit: FloatArray) -> list[Hit]:
    """A few rows, each as a batch of its own, against the row in its batch."""
    known = _known(ask, op, batch, outcome, limit)
    if known is None or len(known.rows.x) < 2:
        return []

    def single(row: int) -> list[Hit]:
        words = f"row {row} alone"
        one = known.rows.take([row]).batch()
        reply = ask(one)
        found = answer(op, one, reply)
        if found is None:
            return trouble(words, reply)
        return known.compare("batch_dependence", words, batch.form, np.array([row]), found)

    return _gravest(single(int(row)) for row in _telling_rows(known.rows))


def _neighbours(ask: Ask, op: Op, batch: Batch, outcome: Returned, limit: FloatArray) -> list[Hit]:
    """Rows among other neighbours and in other places: the values of a row are its own."""
    known = _known(ask, op, batch, outcome, limit)
    if known is None:
        return []

    def beside(words: str, company: Rows, kept: IntArray, index: IntArray) -> list[Hit]:
        crowd = company.batch()
        reply = ask(crowd)
        found = answer(op, crowd, reply)
        if found is None:
            return trouble(words, reply)
        return known.compare("batch_dependence", words, batch.form, index, result_rows(op, crowd, found)[kept])

    return _gravest(beside(*call) for call in _company(known.rows))


def _company(rows: Rows) -> Iterator[tuple[str, Rows, IntArray, IntArray]]:
    """(words, rows to call with, where the known rows are among them, which known rows)."""
    form, n = rows.like.form, rows.x.shape[1]
    chosen = _telling_rows(rows)
    kept = 2 * np.arange(len(chosen)) + 1
    spread = np.zeros(2 * len(chosen) + 1, np.int64)
    spread[kept] = chosen
    sign = np.where(np.arange(n) % 2, -1.0, 1.0)
    fills = [("the largest values", sign * form.max_finite), ("the lowest value", np.full(n, -form.max_finite))]
    fills += [("zeros", np.zeros(n)), ("NaN", np.full(n, np.nan))]
    fills += [("-inf", np.full(n, -np.inf))] if form.has_inf else []
    crowd = rows.take(spread)
    for name, fill in fills:
        inputs = {}
        for key, value in crowd.inputs.items():
            strangers = value.copy()
            if key != "target":
                strangers[::2] = form.narrow(fill)
            inputs[key] = strangers
        yield f"beside rows of {name}", replace(crowd, inputs=inputs), kept, chosen
    count = len(rows.x)
    if count > 1:
        back = np.arange(count)[::-1]
        yield "rows in reverse order", rows.take(back), np.arange(count), back
    if rows.x.size <= _COPIED_LOGITS:
        copies = np.tile(np.arange(count), _COPIES)
        yield f"the batch {_COPIES} times over", rows.take(copies), np.arange(len(copies)), copies


def _layouts(ask: Ask, op: Op, batch: Batch, outcome: Returned, limit: FloatArray) -> list[Hit]:
    """The same values in every other layout in memory."""
    first = answer(op, batch, outcome)
    if first is None:
        return []

    def laid(layout: str) -> list[Hit]:
        words = f"the same values, layout {layout}"
        same = replace(batch, layout=layout)
        reply = ask(same)
        if layout == "readonly" and isinstance(reply, Raised):
            return [Hit("input_mutated", "fail", f"{words}: {reply.type_name}: {reply.message}")]
        found = answer(op, same, reply)
        if found is None:
            return trouble(words, reply)
        return _whole("layout_dependence", words, op, batch, (first, found), limit)

    others = [layout for layout in LAYOUTS if layout not in (batch.layout, "broadcast")]
    return _gravest(laid(layout) for layout in others) or _broadcast(ask, op, batch, outcome, limit)


def _broadcast(ask: Ask, op: Op, batch: Batch, outcome: Returned, limit: FloatArray) -> list[Hit]:
    """One row three times over, as a view of stride 0."""
    known = _known(ask, op, batch, outcome, limit)
    if known is None:
        return []
    three = np.zeros(3, np.int64)
    view = known.rows.take(three).batch("broadcast")
    reply = ask(view)
    found = answer(op, view, reply)
    words = "a row three times over, layout broadcast"
    if found is None:
        return trouble(words, reply)
    return known.compare("layout_dependence", words, batch.form, three, result_rows(op, view, found))


def _axis(ask: Ask, op: Op, batch: Batch, outcome: Returned, limit: FloatArray) -> list[Hit]:
    """A call along an inner axis against the same rows laid out along the last one."""
    values = answer(op, batch, outcome)
    axis = int(batch.options.get("axis", -1))
    if values is None or "axis" not in op.options or axis in (-1, batch.x.ndim - 1):
        return []
    known = _known(ask, op, batch, outcome, limit)
    if known is None:
        return []
    along = result_rows(op, batch, values)
    return known.compare("layout_dependence", f"along axis {axis}", batch.form, np.arange(len(along)), along)


COMPANIONS: tuple[Companion, ...] = (
    Companion("repeat", "nondeterministic", _repeat),
    Companion("state", "stateful", _state),
    Companion("alone", "batch_dependence", _alone),
    Companion("neighbours", "batch_dependence", _neighbours),
    Companion("layouts", "layout_dependence", _layouts),
    Companion("axis", "layout_dependence", _axis),
)
