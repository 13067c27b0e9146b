"""Laws between the answers of two calls: shifted, reordered, cut in two, the target in another form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from xent_verify.core.formats import FloatArray, FloatFormat
from xent_verify.core.model import Batch
from xent_verify.laws.given import OWN_ROUNDING, Given, against, limit_of
from xent_verify.ops.limits import limits_of
from xent_verify.verdict.judge import Hit
from xent_verify.verdict.policies import POLICIES
from xent_verify.verdict.properties import answer, excused, result_rows, rows_view

__all__ = ["concatenation", "one_hot", "permutation", "shift", "shift_adds"]

_SEED = 20260101


def _moved(rows: FloatArray, form: FloatFormat) -> FloatArray:
    """For each row the largest c such that x + c is exact for every logit (0 where none is found)."""
    top, low = rows.max(axis=1), np.where(np.isfinite(rows), rows, np.inf).min(axis=1)
    powers = [sign * 2.0**k for k in (-3, 0, 2, 4, 6, 8, 10, 13) for sign in (1, -1)]
    best = np.zeros(len(rows))
    for candidate in (*(np.full(len(rows), c) for c in powers), -top, -low):
        shift = form.widen(form.narrow(candidate))
        total = rows + shift[:, None]
        part = total - rows
        lost = (rows - (total - part)) + (shift[:, None] - part)
        exact = (lost == 0) & (form.widen(form.narrow(total)) == total) & (np.abs(total) <= form.max_finite / 2)
        good = (exact | np.isneginf(rows)).all(axis=1) & np.isfinite(shift)
        best = np.where(good & (np.abs(shift) > np.abs(best)), shift, best)
    return best


def _shifted(given: Given) -> tuple[Batch, FloatArray] | None:
    """The batch with an exact constant added to each row, and the constants."""
    rows = np.where(given.live[:, None], given.x, 0.0) if len(given.live) == len(given.x) else given.x
    c = _moved(rows, given.form)
    c = np.where(given.live if len(given.live) == len(c) else True, c, 0.0)
    if not c.any():
        return None
    return _with_rows(given, np.where(c[:, None] == 0, given.x, given.x + c[:, None])), c


def _with_rows(given: Given, rows: FloatArray) -> Batch:
    """The batch with other logits in its first input, in the batch's own shape."""
    op, batch = given.op, given.batch
    axis = int(op.option(batch, "axis")) if "axis" in op.options else -1
    outer = np.moveaxis(batch.x, axis, -1).shape
    x = np.ascontiguousarray(np.moveaxis(rows.reshape(outer), -1, axis))
    name = next(iter(batch.inputs))
    return replace(batch, inputs={**batch.inputs, name: batch.form.narrow(x)})


def shift(given: Given) -> list[Hit]:
    """f(x + c) = f(x): both answers lie within their limits. Those of policy ``backward`` grow with c."""
    moved = _shifted(given)
    if moved is None:
        return []
    found = answer(given.op, moved[0], given.ask(moved[0]))
    if found is None:
        return []
    limit = given.limit if given.limits is None else result_rows(given.op, moved[0], given.limits(moved[0]))
    words = "a constant added to every logit of a row changes the result"
    return against(given, words, given.values, result_rows(given.op, moved[0], found), limit)


def shift_adds(given: Given) -> list[Hit]:
    """L(x + c) = L(x) + c within limit(x) + limit(x + c), where that stays in range; the comparison rounds L and c once."""
    moved = _shifted(given)
    if moved is None:
        return []
    found = answer(given.op, moved[0], given.ask(moved[0]))
    if found is None:
        return []
    other, c = result_rows(given.op, moved[0], found), moved[1][:, None]
    limit = limit_of(given, moved[0], other) + OWN_ROUNDING * (np.abs(c) + np.abs(other))
    beyond = result_rows(given.op, moved[0], excused(given.op, moved[0]))
    words = "a constant added to every logit of a row is not added to the result"
    return against(given, words, given.values, np.where(beyond, given.values, other - c), limit)


def permutation(given: Given) -> list[Hit]:
    """f(x permuted) = f(x) permuted: bounds do not depend on the order. Reversed, and in one fixed random order."""
    n = given.x.shape[1]
    for order in (np.arange(n)[::-1], np.random.default_rng(_SEED).permutation(n)) if n > 1 else ():
        turned = _with_rows(given, given.x[:, order])
        found = answer(given.op, turned, given.ask(turned))
        if found is None:
            return []
        values = result_rows(given.op, turned, found)
        if given.op.result == "elements":
            back = np.empty_like(values)
            back[:, order] = values
            values = back
        words = "the logits of a row in another order change the result"
        if hits := against(given, words, given.values, values, given.limit):
            return hits
    return []


def concatenation(given: Given) -> list[Hit]:
    """lse(a ++ b) = log(exp lse(a) + exp lse(b)): log-add-exp passes on the larger of its arguments' errors."""
    rows, n = rows_view(given.op, given.batch), given.x.shape[1]
    if rows is None or n < 2:
        return []
    half = n // 2
    parts, limits = [], []
    for part in (slice(0, half), slice(half, n)):
        piece = replace(rows, inputs={name: value[:, part] for name, value in rows.inputs.items()}).batch()
        found = answer(given.op, piece, given.ask(piece))
        if found is None:
            return []
        parts.append(result_rows(given.op, piece, found))
        limits.append(limit_of(given, piece, parts[-1]))
    first, second = (np.isneginf(part).all(axis=1, keepdims=True) for part in (given.x[:, :half], given.x[:, half:]))
    joined = np.where(first | second, given.values, np.logaddexp(*parts))
    limit = np.maximum(*limits) + 8 * OWN_ROUNDING * (np.abs(joined) + 1)
    words = "the result of a row differs from that of its two halves together"
    return against(given, words, given.values, joined, limit)


def one_hot(given: Given) -> list[Hit]:
    """A class index and the one-hot probabilities of that class give the same loss, within both limits."""
    op, batch = given.op, given.batch
    target, options = batch.inputs["target"], batch.options
    ignored = target.astype(object) == int(options.get("ignore_index", -100))
    weighted_mean = "weight" in options and op.option(batch, "reduction") == "mean"
    if target.ndim == 2 or np.any(ignored) or weighted_mean or not np.isfinite(given.x).all():
        return []
    hot = (np.arange(given.x.shape[1]) == target.astype(np.int64)[:, None]).astype(np.float64)
    plain = {name: value for name, value in options.items() if name != "ignore_index"}
    soft = replace(batch, inputs={**batch.inputs, "target": batch.form.narrow(hot)}, options=plain)
    found = answer(op, soft, given.ask(soft))
    if found is None:
        return []
    vague = limits_of(op, soft, POLICIES["standard"].machine(soft.form, soft.result_form)).free  # 0 times an overflow
    values = np.where(result_rows(op, soft, vague.astype(np.float64)) > 0, given.values, result_rows(op, soft, found))
    words = "class indices and their one-hot probabilities give different losses"
    return against(given, words, given.values, values, limit_of(given, soft, values))
