"""softmax_temperature: softmax(x / T), with the quotient exact.

Bound: the textbook algorithm divides first (each logit gets |x_i / T| u) and then takes a stable softmax of rounded
logits, or subtracts the maximum first. With D_i = (m - x_i) / T and X = max |x| / |T| of the row, relative:
(D_i + E + 2 X + D_i + sigma(n) + 2 k_exp + 1) u + u_F; T itself may be rounded to F: (D_i + E) u_F more.
"""

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
    """exp(x_i / T) / sum_j exp(x_j / T)."""
    terms = a.row(row.values[0], a.number(row.options.get("temperature", 1.0)))
    return [terms.p(i) for i in wanted]


def bound(batch: Batch, model: ErrorModel) -> FloatArray:
    """See the module docstring."""
    temperature = float(OP.option(batch, "temperature"))
    with np.errstate(all="ignore"):
        logits = rows_of(OP, batch).astype(np.float64)
        top = (logits.max if temperature > 0 else logits.min)(axis=1, keepdims=True, initial=-np.inf * temperature)
        terms = row_terms((logits / 2 - top / 2) / temperature * 2)  # halves: the difference may leave float64's range
        largest = np.where(np.isfinite(logits), np.abs(logits), 0.0).max(axis=1, initial=0.0) / abs(temperature)
        relative = terms.softmax_relative(model) + (2 * largest[:, None] + terms.gap) * model.u
        relative = relative + (terms.gap + terms.mean_gap[:, None] + 1) * model.u_store
        absolute = np.where(terms.p > 0, terms.p * relative, 0.0) + model.eta_exp
    return unroll(OP, batch, absolute)


OP = Op(
    name="softmax_temperature",
    about="softmax(x / temperature) along an axis",
    inputs=("x",),
    options={"temperature": 1.0, "axis": -1},
    result="elements",
    formula=formula,
    bound=bound,
    laws=("permutation", "sum_to_one", "range", "monotone"),
)
