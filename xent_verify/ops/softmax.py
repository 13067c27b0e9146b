"""softmax: p_i = exp(x_i) / sum_j exp(x_j)."""

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
    """p_i = exp(x_i - m) / sum_j exp(x_j - m)."""
    terms = a.row(row.values[0])
    return [terms.p(i) for i in wanted]


def bound(batch: Batch, model: ErrorModel) -> FloatArray:
    """p_i ((d_i + E + sigma(n) + 2 k_exp + 1) u + u_F) + eta_F + eta: see ``ops.bounds``."""
    terms = row_terms(rows_of(OP, batch))
    with np.errstate(all="ignore"):
        relative = terms.softmax_relative(model) + model.u_store
        absolute = np.where(terms.p > 0, terms.p * relative, 0.0) + model.eta_exp
    return unroll(OP, batch, absolute)


OP = Op(
    name="softmax",
    about="p_i = exp(x_i) / sum_j exp(x_j) along an axis",
    inputs=("x",),
    options={"axis": -1},
    result="elements",
    formula=formula,
    bound=bound,
    laws=("shift", "permutation", "sum_to_one", "range", "monotone"),
)
