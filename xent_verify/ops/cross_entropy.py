"""cross_entropy: the semantics of torch.nn.functional.cross_entropy over [N, C] logits.

With log p the log-softmax of a row, w class weights (1 by default), e the label smoothing and C classes:

* class-index target t:  loss = (1 - e) w_t (-log p_t) + (e / C) sum_c w_c (-log p_c); 0 where t = ignore_index
* probability target y:  loss = sum_c w_c (y_c (1 - e) + e / C) (-log p_c); a zero coefficient contributes 0

``reduction``: "none" (per row), "sum", "mean" (sum divided by the total weight of the targets that count, or by N for
probability targets).

**Bound.** Write loss = sum_c a_c l_c with l_c = -log p_c >= 0 and a_c the coefficients. A sound implementation computes
each l_c within the bound B_c of log_softmax (storing it in F is allowed: B_c includes |l_c| u_F), forms a_c with at
most six roundings (e, 1 - e, e / C, w, their products), multiplies and sums C terms; e itself may be rounded to F
first, once::

    row:   sum_c |a_c| B_c + (sigma(C) + 6) u sum_c |a_c| l_c + u_F (e w_t l_t + (e/C) sum_c w_c l_c) + |loss| u_F + eta_F

A plain index loss (no weight, no smoothing) has no operation beyond log_softmax and keeps its bound. Reducing N rows
adds sigma(N) u sum |loss_n| and the division and store: (sigma(N) + 2) u |mean| + |mean| u_F, where the
divisor W is itself a sum of N terms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.formats import FloatArray
from xent_verify.model import Batch
from xent_verify.ops.bounds import ErrorModel, RowTerms, row_terms
from xent_verify.ops.op import Arithmetic, Op, RowInputs

__all__ = ["OP", "reduce_bound"]

_SCALE = 2.0**-600


def formula(a: Arithmetic, row: RowInputs, wanted: Sequence[int]) -> list[Any]:
    """sum_c a_c (-log p_c); a_c from weights, target and smoothing as docs/policies.md has them."""
    logits, target = row.values
    used = [(c, value) for c, value in _coefficients(a, row, len(logits), target) if not value.is_zero]
    total = a.number(0)
    if used:  # an ignored row is not looked at: it may hold anything
        terms = a.row(logits)
        for c, coefficient in used:
            total = total - coefficient * terms.log_p(c)
    return [total for _ in wanted]


def _coefficients(a: Arithmetic, row: RowInputs, classes: int, target: Any) -> list[tuple[int, Any]]:
    """(class, a_c) for the classes that can contribute."""
    options = row.options
    weight = options.get("weight")
    smoothing = a.number(options.get("label_smoothing", 0.0))
    kept = a.number(1) - smoothing
    share = smoothing / a.number(classes)

    def scale(c: int) -> Any:
        return a.number(1) if weight is None else a.number(weight[c])

    if np.ndim(target):
        return [(c, scale(c) * (a.number(y) * kept + share)) for c, y in enumerate(target)]
    if int(target) == options.get("ignore_index", -100):
        return []
    single = [(int(target), scale(int(target)) * kept)]
    return single if share.is_zero else single + [(c, scale(c) * share) for c in range(classes)]


def denominator(a: Arithmetic, batch: Batch) -> Any:
    """What "mean" divides by: the weight of the targets that count, or N for probability targets."""
    target = batch.inputs["target"]
    if target.ndim == 2:
        return a.number(len(target))
    weight = batch.options.get("weight")
    live = target[target.astype(object) != int(batch.options.get("ignore_index", -100))].astype(np.int64)
    if weight is None:
        return a.number(len(live))
    total = a.number(0)
    counts = np.bincount(live, minlength=len(weight))
    for c in np.flatnonzero(counts):
        total = total + a.number(int(counts[c])) * a.number(weight[c])
    return total


@dataclass(frozen=True, slots=True)
class Parts:
    """Coefficients of the loss per row in float64: ``a`` [N, C] (or None: index target, no weight, no smoothing)."""

    a: FloatArray | None
    target: NDArray[Any]
    live: NDArray[np.bool_]
    smoothing: float
    weight: FloatArray


def _parts(batch: Batch, terms: RowTerms) -> Parts:
    rows, classes = terms.gap.shape
    options = batch.options
    raw = options.get("weight")
    weight = np.ones(classes) if raw is None else np.asarray(raw).astype(np.float64)
    smoothing = float(options.get("label_smoothing", 0.0))
    target = batch.inputs["target"]
    if target.ndim == 2:
        a = weight * (target.astype(np.float64) * (1 - smoothing) + smoothing / classes)
        return Parts(np.abs(a), target, np.ones(rows, np.bool_), smoothing, np.abs(weight))
    live = target.astype(object) != int(options.get("ignore_index", -100))
    index = np.where(live, target, 0).astype(np.int64)
    if raw is None and smoothing == 0:
        return Parts(None, index, live, smoothing, weight)
    a = np.broadcast_to(weight * (smoothing / classes), (rows, classes)).copy()
    a[np.arange(rows), index] += weight[index] * (1 - smoothing)
    return Parts(np.abs(a) * live[:, None], index, live, smoothing, np.abs(weight))


def _dot(a: FloatArray, b: FloatArray) -> FloatArray:
    """sum_c a_c b_c with 0 * inf = 0."""
    with np.errstate(all="ignore"):
        return np.asarray(np.where(a == 0, 0.0, a * b).sum(axis=1))


def _row_bound(parts: Parts, terms: RowTerms, model: ErrorModel) -> tuple[FloatArray, FloatArray]:
    """Per row: the loss and its bound."""
    rows, classes = terms.gap.shape
    loss = terms.loss
    part = terms.log_softmax_absolute(model) + np.abs(loss) * model.u_store + model.eta
    picked = np.arange(rows), parts.target if parts.target.ndim == 1 else np.zeros(rows, np.int64)
    if parts.a is None:
        value = np.where(parts.live, loss[picked], 0.0)
        return value, np.where(parts.live, part[picked], model.eta)
    value = _dot(parts.a, np.abs(loss))
    smoothed = _dot(np.broadcast_to(parts.weight, loss.shape), np.abs(loss)) * (parts.smoothing / max(classes, 1))
    parameter = smoothed
    if parts.target.ndim == 1:
        parameter = smoothed + parts.smoothing * _dot(
            parts.weight[parts.target][:, None], np.abs(loss[picked])[:, None]
        )
    parameter = np.where(parts.live, parameter, 0.0) if parts.smoothing else np.zeros(rows)
    error = _dot(parts.a, part) + (model.sigma_of(classes) + 6) * model.u * value
    return value, error + model.u_store * (parameter + value) + model.eta


def reduce_bound(value: FloatArray, error: FloatArray, divisor: float, reduction: str, model: ErrorModel) -> FloatArray:
    """The bound after "none", "sum" or "mean" over per-row losses and their errors (module docstring)."""
    if reduction == "none":
        return error
    sigma = model.sigma_of(value.size)
    total, slack = float(np.abs(value).sum()), float(error.sum())
    if reduction == "sum":
        return np.asarray(slack + total * (sigma * model.u + model.u_store) + model.eta)
    with np.errstate(all="ignore"):
        mean = total / np.float64(divisor)
        return np.asarray(slack / np.float64(divisor) + mean * ((2 * sigma + 2) * model.u + model.u_store) + model.eta)


def _divisor(batch: Batch, parts: Parts) -> float:
    if batch.inputs["target"].ndim == 2:
        return float(len(parts.live))
    return float(parts.weight[parts.target][parts.live].sum())


def bound(batch: Batch, model: ErrorModel) -> FloatArray:
    """See the module docstring."""
    with np.errstate(all="ignore"):
        terms = row_terms(batch.x)
        scale = _SCALE if np.any(np.isfinite(terms.gap) & (terms.gap > 1.0 / _SCALE)) else 1.0
        terms = terms.scaled(scale)  # sums of losses near float64's largest value would leave its range
        parts = _parts(batch, terms)
        value, error = _row_bound(parts, terms, model)
        reduction = str(OP.option(batch, "reduction"))
        single = value.size == 1 and batch.options.get("weight") is None
        if single and reduction != "none":
            return np.asarray(error[0] / scale)
        return np.asarray(reduce_bound(value, error, _divisor(batch, parts), reduction, model) / scale)


def overflow_allowed(batch: Batch, model: ErrorModel) -> NDArray[np.bool_]:
    """Where a sound algorithm may overflow although the loss is representable.

    An element of log p or of w log p may leave F (composition stores them there); x - m, sum_c w_c l_c before its
    factor e / C, and the sum over rows before its division may leave the arithmetic's range.
    """
    with np.errstate(all="ignore"):
        terms = row_terms(batch.x)
        parts = _parts(batch, terms)
        loss, classes = terms.loss, terms.gap.shape[1]
        rows = np.arange(len(loss))
        store_top, top = 0.99 * model.store.max_finite, 0.99 * model.arithmetic.max_finite
        weighted = np.where(np.isfinite(loss), parts.weight * loss, 0.0)
        if parts.a is None:
            row = np.where(parts.live, weighted[rows, parts.target], 0.0)
            peak, inner = row, row
        else:
            used = np.where(parts.a > 0, np.maximum(weighted, np.where(np.isfinite(loss), loss, 0.0)), 0.0)
            peak, row = used.max(axis=1, initial=0.0), _dot(parts.a, np.where(np.isfinite(loss), loss, 0.0))
            inner = used.sum(axis=1) if parts.smoothing or parts.target.ndim == 2 else peak
        hit = (peak > store_top) | (inner > top) | ~np.isfinite(inner)
        if classes == 0 or str(OP.option(batch, "reduction")) == "none":
            return hit
        return np.asarray(hit.any() or row.sum() > top or inner.sum() > top)


def zero_times_overflow(batch: Batch, model: ErrorModel) -> NDArray[np.bool_]:
    """Where a sound algorithm may multiply an overflowed log p by 0: a weight, a probability, or 1 - e for e = 1."""
    with np.errstate(all="ignore"):
        terms = row_terms(batch.x)
        parts = _parts(batch, terms)
        over = np.isfinite(terms.loss) & (terms.loss > 0.99 * model.store.max_finite)
        picked = np.zeros(over.shape, np.bool_)
        if parts.target.ndim == 1:
            picked[np.arange(len(over)), parts.target] = True
        spread = parts.target.ndim == 2 or parts.smoothing > 0
        weightless = (parts.weight == 0) & (picked | spread)
        factor = (parts.target == 0) if parts.target.ndim == 2 else picked & (parts.smoothing == 1)
        hit = (over & (weightless | factor)).any(axis=1) & parts.live
        return hit if str(OP.option(batch, "reduction")) == "none" else np.asarray(hit.any())


OP = Op(
    name="cross_entropy",
    about="cross entropy of logits [N, C] against class indices [N] or probabilities [N, C]",
    inputs=("logits", "target"),
    options={"weight": None, "ignore_index": -100, "reduction": "mean", "label_smoothing": 0.0},
    result="loss",
    formula=formula,
    bound=bound,
    denominator=denominator,
    overflow_allowed=overflow_allowed,
    zero_times_overflow=zero_times_overflow,
    laws=("shift", "one_hot", "not_negative"),
    formats=("float64", "float32", "float16", "bfloat16"),
)
