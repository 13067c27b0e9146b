"""kl_divergence: KL(p || q) = sum_i p_i (log p_i - log q_i) for p, q the softmax of two rows of logits.

**Bound.** Both log-softmaxes within their bounds, p_i within softmax's, a subtraction, a product and a sum of n terms:
sum_i p_i (B_p,i + B_q,i + |log p_i - log q_i| (r_i + 2 u)) + sigma(n) u sum_i p_i |log p_i - log q_i| + |t| u_F
+ eta_F, where r_i is softmax's relative bound and B the absolute ones of log_softmax.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xent_verify.formats import FloatArray
from xent_verify.model import Batch
from xent_verify.ops.bounds import ErrorModel, row_terms
from xent_verify.ops.op import Arithmetic, Op, RowInputs
from xent_verify.ops.shapes import unroll

__all__ = ["OP"]


def formula(a: Arithmetic, row: RowInputs, wanted: Sequence[int]) -> list[Any]:
    """sum_i p_i (log p_i - log q_i) over p_i > 0; exactly 0 where the rows differ by a constant."""
    first, second = (np.asarray(value, np.float64) for value in row.values)
    live = np.flatnonzero(np.isfinite(first))
    if _same_distribution(a, first, second):
        return [a.number(0) for _ in wanted]
    p, q = a.row(list(first)), a.row(list(second))
    total = a.number(0)
    for i in live:
        total = total + p.p(int(i)) * (p.log_p(int(i)) - q.log_p(int(i)))
    return [a.unproved(total) for _ in wanted]


def _same_distribution(a: Arithmetic, first: FloatArray, second: FloatArray) -> bool:
    if not np.array_equal(np.isfinite(first), np.isfinite(second)):
        return False
    live = np.flatnonzero(np.isfinite(first))
    shift = a.number(first[live[0]]) - a.number(second[live[0]])
    return all((a.number(first[i]) - a.number(second[i]) - shift).is_zero for i in live)


def bound(batch: Batch, model: ErrorModel) -> FloatArray:
    """See the module docstring."""
    axis = int(OP.option(batch, "axis"))
    flat = [np.moveaxis(value, axis, -1) for value in batch.inputs.values()]
    count = int(np.prod(flat[0].shape[:-1], dtype=np.int64))
    p, q = (row_terms(value.reshape(count, value.shape[-1])) for value in flat)
    with np.errstate(all="ignore"):
        ratio = np.abs(q.loss - p.loss)
        relative = p.softmax_relative(model) + 2 * model.u
        store = (p.loss + q.loss) * model.u_store + 2 * model.eta
        parts = p.log_softmax_absolute(model) + q.log_softmax_absolute(model) + store + ratio * relative
        value = np.where(p.p > 0, p.p * ratio, 0.0).sum(axis=1)
        error = np.where(p.p > 0, p.p * parts, 0.0).sum(axis=1)
        error = error + value * (model.sigma_of(p.p.shape[1]) * model.u + model.u_store) + model.eta
    return unroll(OP, batch, error)


OP = Op(
    name="kl_divergence",
    about="KL(softmax(logits_p) || softmax(logits_q)) along an axis, which is removed",
    inputs=("logits_p", "logits_q"),
    options={"axis": -1},
    result="rows",
    formula=formula,
    bound=bound,
    laws=("shift", "not_negative"),
    formats=("float64", "float32", "float16", "bfloat16"),
)
