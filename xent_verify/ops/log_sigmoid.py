"""log_sigmoid: -log(1 + exp(-x)), the log-softmax of [x, 0].

Bound: textbook min(x, 0) - log1p(exp(-|x|)). log1p's argument has relative error k_exp u and its condition number is at
most 1; the subtraction has terms of one sign: relative (k_exp + k_log + 2) u + u_F, and a quantum of the arithmetic more where
exp and log1p both round to subnormals.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xent_verify.formats import FloatArray
from xent_verify.model import Batch
from xent_verify.ops.bounds import ErrorModel
from xent_verify.ops.op import Arithmetic, Op, RowInputs

__all__ = ["OP"]


def formula(a: Arithmetic, row: RowInputs, wanted: Sequence[int]) -> list[Any]:
    """x - log(exp(x) + exp(0))."""
    terms = a.row([row.values[0][0], 0.0])
    return [terms.log_p(0) for _ in wanted]


def bound(batch: Batch, model: ErrorModel) -> FloatArray:
    """See the module docstring."""
    x = batch.x.astype(np.float64)
    with np.errstate(all="ignore"):
        value = np.abs(np.minimum(x, 0.0) - np.log1p(np.exp(-np.abs(x))))
        return np.asarray(value * ((model.k_exp + model.k_log + 2) * model.u + model.u_store) + model.eta_exp)


OP = Op(
    name="log_sigmoid",
    about="log(1 / (1 + exp(-x))), elementwise",
    inputs=("x",),
    options={},
    result="elements",
    formula=formula,
    bound=bound,
    by_row=False,
    laws=("not_positive",),
)
