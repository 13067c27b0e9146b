"""The same values in other places in memory, and along another axis."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from xent_verify.companions.known import gravest, known_rows, true_rows, whole
from xent_verify.core.foldings import DEEPER, FOLDINGS
from xent_verify.core.formats import FloatArray
from xent_verify.core.model import LAYOUTS, Batch, NotOffered, Raised, Returned
from xent_verify.ops import Op, in_table
from xent_verify.ops.defined import undefined
from xent_verify.ops.limits import limits_of
from xent_verify.verdict.judge import Hit
from xent_verify.verdict.policies import POLICIES, across_memory
from xent_verify.verdict.properties import Ask, answer, result_rows, trouble

__all__ = ["along_axis", "layouts", "padding", "shapes"]


def layouts(ask: Ask, op: Op, batch: Batch, outcome: Returned, limit: FloatArray) -> list[Hit]:
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
        return whole("layout_dependence", words, op, batch, (first, found), limit * _loosened(op, same))

    others = [layout for layout in LAYOUTS if layout not in (batch.layout, "broadcast")]
    return gravest(laid(layout) for layout in others) or _broadcast(ask, op, batch, outcome, limit)


def _broadcast(ask: Ask, op: Op, batch: Batch, outcome: Returned, limit: FloatArray) -> list[Hit]:
    """One row three times over, as a view of stride 0."""
    known = known_rows(ask, op, batch, outcome, limit)
    if known is None:
        return []
    three = np.zeros(3, np.int64)
    view = known.rows.take(three).batch("broadcast")
    reply = ask(view)
    found = answer(op, view, reply)
    words = "a row three times over, layout broadcast"
    if found is None:
        return trouble(words, reply)
    known = replace(known, limit=known.limit * _loosened(op, view))
    return known.compare("layout_dependence", words, batch.result_form, three, result_rows(op, view, found))


def _loosened(op: Op, batch: Batch) -> float:
    """How much more a sum across memory may err: the bounds of a loop over those of a library's sum, at most."""
    if not across_memory(batch):
        return 1.0
    policy = POLICIES["standard"]
    loop, library = (
        limits_of(op, batch, machine).error
        for machine in (policy.machine_for(batch), policy.machine(batch.form, batch.result_form))
    )
    with np.errstate(all="ignore"):
        ratio = loop / library
    return float(np.max(ratio, initial=1.0, where=np.isfinite(ratio)))


def along_axis(ask: Ask, op: Op, batch: Batch, outcome: Returned, limit: FloatArray) -> list[Hit]:
    """A call along an inner axis against the same rows laid out along the last one."""
    values = answer(op, batch, outcome)
    axis = int(batch.options.get("axis", -1))
    if values is None or "axis" not in op.options or axis in (-1, batch.x.ndim - 1):
        return []
    known = known_rows(ask, op, batch, outcome, limit)
    if known is None:
        return []
    along = result_rows(op, batch, values)
    return known.compare("layout_dependence", f"along axis {axis}", batch.result_form, np.arange(len(along)), along)


def shapes(ask: Ask, op: Op, batch: Batch, outcome: Returned, limit: FloatArray) -> list[Hit]:
    """The same rows with their labels in more dimensions: [B, T, C], [N, C, d] …, as far as the target takes them."""
    values = answer(op, batch, outcome)
    if values is None or batch.x.ndim != 2 or not op.labels or op.shared or not in_table(op):
        return []

    def folded(name: str) -> list[Hit]:
        fold, words = FOLDINGS[name], f"the same rows as {name}"
        arrays = dict(zip(batch.inputs, fold.folded([*batch.inputs.values()]), strict=True))
        reply = ask(replace(batch, inputs=arrays, layout="C"))
        if not isinstance(reply, Returned) or reply.value.size != values.size:
            return trouble(words, reply)
        found = fold.unfolded(reply.value, batch.x.shape).astype(np.float64).reshape(values.shape)
        more = _loosened(op, replace(batch, layout="F")) if fold.after else 1.0  # classes lie apart in memory
        return whole("layout_dependence", words, op, batch, (values, found), limit * more)

    return gravest(folded(name) for name in DEEPER)


def padding(ask: Ask, op: Op, batch: Batch, outcome: Returned, limit: FloatArray) -> list[Hit]:
    """Rows with logits of −inf at their end, up to the next multiples of 8 and 128 and to twice the length.

    Of rows whose true values that leaves as they are. Where it gives NaN nothing is said here: calls with −inf are judged by
    themselves.
    """
    plain = batch.form.has_inf and op.by_row and all(np.ndim(value) == 0 for value in batch.options.values())
    known = known_rows(ask, op, batch, outcome, limit) if plain else None
    if known is None or any(a.ndim != 1 for a in list(known.rows.inputs.values())[1:]):
        return []
    n = known.rows.x.shape[1]
    with np.errstate(invalid="ignore"):
        live = np.flatnonzero(np.isfinite(known.rows.wide.max(axis=1)))
    rows = known.rows.take(live)
    true = true_rows(op, rows.batch())

    def padded(width: int) -> list[Hit]:
        x = np.full((len(live), width), -np.inf)
        x[:, :n] = rows.wide
        longer = rows.with_logits(x).batch()
        if undefined(op, longer):
            return []
        same = np.isclose(true_rows(op, longer)[:, : true.shape[1]], true, rtol=0, atol=0, equal_nan=True).all(axis=1)
        words = f"rows padded with −inf to {width} logits"
        reply = ask(longer) if same.any() else NotOffered("no row keeps its value")
        found = answer(op, longer, reply)
        if found is None:
            return trouble(words, reply)
        kept = result_rows(op, longer, found)[same, : known.values.shape[1]]
        if (np.isnan(kept) & ~np.isnan(known.values[live[same]])).any():
            return []
        return known.compare("layout_dependence", words, batch.result_form, live[same], kept)

    widths = sorted({n + 1, (n // 8 + 1) * 8, (n // 128 + 1) * 128, 2 * n})
    return gravest(padded(width) for width in widths) if len(live) else []
