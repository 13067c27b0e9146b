"""log_softmax: log p_i = (x_i - m) - log s."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xent_verify.formats import FloatArray
from xent_verify.model import Batch
from xent_verify.ops.bounds import ErrorModel, row_terms
from xent_verify.ops.op import Arithmetic, Op, RowInputs, rows_of
from xent_verify.ops.shapes import unroll

__all__ = ["OP"]


def formula(a: Arithmetic, row: RowInputs, wanted: Sequence[int]) -> list[Any]:
    """log p_i = (x_i - m) - log sum_j exp(x_j - m)."""
    terms = a.row(row.values[0])
    return [terms.log_p(i) for i in wanted]


def bound(batch: Batch, model: ErrorModel) -> FloatArray:
    """(d_i + E + sigma(n) + k_exp + k_log log s) u + |t_i| u_F + eta_F: see ``ops.bounds``."""
    terms = row_terms(rows_of(OP, batch))
    with np.errstate(all="ignore"):
        absolute = terms.log_softmax_absolute(model) + terms.loss * model.u_store + model.eta
    return unroll(OP, batch, absolute)


OP = Op(
    name="log_softmax",
    about="log p_i = (x_i - m) - log s along an axis",
    inputs=("x",),
    options={"axis": -1},
    result="elements",
    formula=formula,
    bound=bound,
    laws=("shift", "permutation", "exp_sums_to_one", "not_positive", "monotone"),
)
