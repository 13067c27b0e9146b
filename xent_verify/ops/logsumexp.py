"""logsumexp: L = log sum_j exp(x_j) = m + log s."""

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
    """L = m + log sum_j exp(x_j - m)."""
    terms = a.row(row.values[0])
    return [terms.log_sum_exp() for _ in wanted]


def bound(batch: Batch, model: ErrorModel) -> FloatArray:
    """(E + sigma(n) + k_exp + k_log log s) u + |L| u_F + eta_F: see ``ops.bounds``."""
    terms = row_terms(rows_of(OP, batch))
    with np.errstate(all="ignore"):
        value = np.abs(terms.top + terms.log_s)
        absolute = terms.log_sum_absolute(model) + value * model.u_store + model.eta
    return unroll(OP, batch, absolute)


OP = Op(
    name="logsumexp",
    about="L = log sum_j exp(x_j) along an axis, which is removed",
    inputs=("x",),
    options={"axis": -1},
    result="rows",
    formula=formula,
    bound=bound,
    laws=("shift_adds", "permutation", "at_least_max", "concatenation"),
)
