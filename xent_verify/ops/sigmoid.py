"""sigmoid: 1 / (1 + exp(-x)), the softmax of [x, 0].

Bound: with e = exp(-|x|) the textbook form is 1 / (1 + e) or e / (1 + e): exp twice at most, an addition, a division:
relative (2 k_exp + 3) u + u_F; no shift is rounded, since one logit is 0.
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
    """exp(x) / (exp(x) + exp(0))."""
    terms = a.row([row.values[0][0], 0.0])
    return [terms.p(0) for _ in wanted]


def bound(batch: Batch, model: ErrorModel) -> FloatArray:
    """See the module docstring."""
    x = batch.x.astype(np.float64)
    with np.errstate(all="ignore"):
        small = np.exp(-np.abs(x))
        value = np.where(x < 0, small, 1.0) / (1.0 + small)
        return np.asarray(value * ((2 * model.k_exp + 3) * model.u + model.u_store) + model.eta_exp)


OP = Op(
    name="sigmoid",
    about="1 / (1 + exp(-x)), elementwise",
    inputs=("x",),
    options={},
    result="elements",
    formula=formula,
    bound=bound,
    by_row=False,
    laws=("range",),
)
