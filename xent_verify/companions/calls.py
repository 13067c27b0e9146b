"""The same call again, and after other calls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from xent_verify.companions.known import gravest, true_rows, whole
from xent_verify.core.formats import FloatArray
from xent_verify.core.model import Batch, NotOffered, Raised, Returned
from xent_verify.core.shapes import full
from xent_verify.ops import Op
from xent_verify.ops.defined import undefined
from xent_verify.ops.limits import limits_of
from xent_verify.verdict.judge import Hit
from xent_verify.verdict.policies import POLICIES
from xent_verify.verdict.properties import Ask, Rows, answer, result_places, result_rows, rows_view, trouble

__all__ = ["repeat", "state"]

_REPEATS = 3


def repeat(ask: Ask, op: Op, batch: Batch, outcome: Returned, limit: FloatArray) -> list[Hit]:
    """The same call again and again: answers that differ among themselves, or all from the earlier one."""
    first = answer(op, batch, outcome)
    if first is None:
        return []
    again = [ask(batch) for _ in range(_REPEATS)]
    if any(isinstance(one, NotOffered) for one in again):  # there was no time for all of them
        return []
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
    among = (whole("nondeterministic", words, op, batch, (answers[0], other), limit) for other in answers[1:])
    found = gravest(among)
    return found or whole("stateful", "the same call, later", op, batch, (first, answers[0]), limit)


def state(ask: Ask, op: Op, batch: Batch, outcome: Returned, limit: FloatArray) -> list[Hit]:
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
        return trouble(words, last) if again is None else whole("stateful", words, op, batch, (first, again), limit)

    return gravest(after(*call) for call in _disturbances(op, batch)) or _stale(ask, op, batch, first, limit)


def _disturbances(op: Op, batch: Batch) -> Iterator[tuple[str, Batch]]:
    """Calls of the same shape with other values, and a wider one where no option has a width."""
    form, wide = batch.form, batch.form.widen(batch.x)
    big = np.where(np.arange(wide.size).reshape(wide.shape) % 2, -1.0, 1.0) * min(1000.0, form.max_finite / 4)
    name = next(iter(batch.inputs))

    def other(values: FloatArray) -> Batch:
        return replace(batch, inputs={**batch.inputs, name: form.narrow(values)}, layout="C")

    yield "large values", other(big)
    if form.has_nan:
        yield "NaN", other(np.full(wide.shape, np.nan))
    rows = rows_view(op, batch)
    if rows is not None and not any(isinstance(value, np.ndarray) for value in batch.options.values()):
        wider = {
            key: np.concatenate([value, value, value[:, :1]], axis=1) if value.ndim == 2 else value
            for key, value in rows.inputs.items()
        }
        yield "wider rows", replace(rows, inputs=wider).batch()


def _stale(ask: Ask, op: Op, batch: Batch, values: FloatArray, limit: FloatArray) -> list[Hit]:
    """Logit 1 raised by 8 + log n + max |x|, where that moves the true values by more than their limits: the same bits are an
    earlier answer.

    A function that bounds something may answer both alike without any memory; it then answers the changed row alike from
    back to front too, which a memory has not met.
    """
    rows = rows_view(op, batch)
    if rows is None or rows.x.shape[1] < 3 or not op.by_row:
        return []
    wide = rows.wide
    with np.errstate(all="ignore"):
        raised = wide.max(axis=1) + 8.0 + np.log(wide.shape[1]) + np.abs(wide).max(axis=1)
        live = np.isfinite(wide).all(axis=1) & (np.abs(raised) < batch.form.max_finite / 4)
    changed = wide.copy()
    changed[live, 1] = raised[live]
    twin = rows.with_logits(changed).batch()
    if not live.any() or undefined(op, twin):
        return []
    live &= _moved(op, rows.batch(), twin, result_rows(op, batch, full(limit, values.shape)))
    found = answer(op, twin, ask(twin)) if live.any() else None
    if found is None:
        return []
    stuck = live & (result_rows(op, batch, values) == result_rows(op, twin, found)).all(axis=1)
    if not stuck.any() or _insensitive(ask, op, rows.with_logits(changed), found, stuck):
        return []
    text = "a row with another logit in its middle gets the answer of an earlier call"
    place = int(result_places(op, batch)[np.argmax(stuck), 0])
    return [Hit("stateful", "fail", text, int(stuck.sum()), place)]


def _moved(op: Op, batch: Batch, twin: Batch, limit: FloatArray) -> NDArray[np.bool_]:
    """Rows whose true values in two calls are farther apart than both their limits."""
    machine = POLICIES["standard"].machine(twin.form, twin.result_form)
    both = limit + result_rows(op, twin, limits_of(op, twin, machine).error)
    with np.errstate(all="ignore"):
        far: NDArray[np.bool_] = (np.abs(true_rows(op, batch) - true_rows(op, twin)) > both).any(axis=1)
    return far


def _insensitive(ask: Ask, op: Op, rows: Rows, found: FloatArray, stuck: NDArray[np.bool_]) -> bool:
    """The rows from back to front get the same answers."""
    turned = {name: value[:, ::-1] for name, value in rows.inputs.items() if value.ndim == 2}
    if "target" in rows.inputs and rows.inputs["target"].ndim == 1:
        turned["target"] = np.where(stuck, rows.x.shape[1] - 1 - rows.inputs["target"], rows.inputs["target"])
    batch = replace(rows, inputs={**rows.inputs, **turned}).batch()
    answered = answer(op, batch, ask(batch))
    if answered is None:
        return False
    values, others = result_rows(op, rows.batch(), found)[stuck], result_rows(op, batch, answered)[stuck]
    return bool(np.allclose(values, others[:, ::-1], rtol=1e-2, atol=0, equal_nan=True))
