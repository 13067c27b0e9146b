"""cross_entropy_grad: the gradient of the per-sample loss, p_i - [i = t], or p_i sum(y) - y_i.

**Bound.** p_i has the relative error of softmax in the arithmetic (no store), or is had as exp(log p_i) from the forward
pass, which rounds log p_i once more: L_i = |log p_i| + k_log log s. For probability targets Y = sum(y) is summed
(sigma(C) u), multiplied (u) and the difference stored (|g_i| u_F)::

    p_i Y (d_i + E + sigma(C) + 2 k_exp + 1 + L_i) u                    + |g_i| u_F + eta_F     (class index, Y = 1)
    p_i |Y| (d_i + E + 2 sigma(C) + 2 k_exp + 3 + L_i) u + p_i |Y - 1|*  + |g_i| u_F + eta_F    (probabilities)

At the target p - 1 and -sum of the others are both sound: the bound is absolute there (p's error, not g's), and the
larger of the two forms' errors counts, p_t r_t u or (sum_(j != t) p_j r_j + sigma(C) (1 - p_t)) u with r_j softmax's.
(*) Targets that sum to 1 only up to their own rounding (|Y - 1| <= C u_F) may be taken as summing to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xent_verify.formats import FloatArray
from xent_verify.model import Batch
from xent_verify.ops.bounds import ErrorModel, row_terms
from xent_verify.ops.op import Arithmetic, Op, RowInputs

__all__ = ["OP"]


def formula(a: Arithmetic, row: RowInputs, wanted: Sequence[int]) -> list[Any]:
    """p_i sum(y) - y_i."""
    logits, target = row.values
    terms = a.row(logits)
    if not np.ndim(target):
        one = a.number(1)
        return [terms.p_minus(i, a.number(int(i == int(target))), one) for i in wanted]
    total = a.number(0)
    for y in target:
        total = total + a.number(y)
    return [terms.p_minus(i, a.number(target[i]), total) for i in wanted]


def bound(batch: Batch, model: ErrorModel) -> FloatArray:
    """See the module docstring."""
    target = batch.inputs["target"]
    terms = row_terms(batch.x)
    rows, classes = terms.p.shape
    with np.errstate(all="ignore"):
        stored = (terms.loss + model.k_log * terms.log_s[:, None]) * model.u
        relative = np.where(terms.p > 0, terms.softmax_relative(model) + stored, 0.0)
        if target.ndim == 1:
            picked = np.arange(rows), target.astype(np.int64)
            value = terms.p.copy()
            value[picked] -= 1
            error = terms.p * relative
            others = error.sum(axis=1) - error[picked] + model.sigma_of(classes) * model.u * (1 - terms.p[picked])
            error[picked] = np.maximum(error[picked], others)
            return np.asarray(error + np.abs(value) * model.u_store + model.eta_exp)
        y = target.astype(np.float64)
        total = y.sum(axis=1, keepdims=True)
        near_one = np.abs(total - 1) <= classes * model.u_store
        assumed = np.where(near_one, np.abs(total - 1), 0.0)
        relative = relative + (model.sigma_of(classes) + 2) * model.u
        value = np.abs(terms.p * total - y)
        return np.asarray(terms.p * (np.abs(total) * relative + assumed) + value * model.u_store + model.eta_exp)


OP = Op(
    name="cross_entropy_grad",
    about="gradient of the per-sample cross entropy with respect to the logits [N, C]",
    inputs=("logits", "target"),
    options={},
    result="elements",
    formula=formula,
    bound=bound,
    laws=("shift", "rows_sum_to_zero"),
    formats=("float64", "float32", "float16", "bfloat16"),
)
