"""softmax: p_i = exp(x_i) / sum_j exp(x_j)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xent_verify.ops.forms import SOFTMAX
from xent_verify.ops.op import AXIS, Arithmetic, Op, RowInputs

__all__ = ["OP"]


def formula(a: Arithmetic, row: RowInputs, wanted: Sequence[int]) -> list[Any]:
    """p_i = exp(x_i - m) / sum_j exp(x_j - m)."""
    terms = a.row(row.values[0])
    return [terms.p(i) for i in wanted]


OP = Op(
    name="softmax",
    about="p_i = exp(x_i) / sum_j exp(x_j) along an axis",
    inputs={"x": "row"},
    options=AXIS,
    result="elements",
    formula=formula,
    algorithms=SOFTMAX,
    adjoints={"backward": lambda a, x: a.softmax(x)},
    widest=("reciprocal", "exp of log"),
    built_on="p",
    laws=("shift", "permutation", "sum_to_one", "range", "monotone"),
)
