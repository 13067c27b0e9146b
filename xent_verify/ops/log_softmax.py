"""log_softmax: log p_i = (x_i - m) - log s."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xent_verify.ops.forms import LOG_SOFTMAX
from xent_verify.ops.op import AXIS, Arithmetic, Op, RowInputs

__all__ = ["OP"]


def formula(a: Arithmetic, row: RowInputs, wanted: Sequence[int]) -> list[Any]:
    """log p_i = (x_i - m) - log sum_j exp(x_j - m)."""
    terms = a.row(row.values[0])
    return [terms.log_p(i) for i in wanted]


OP = Op(
    name="log_softmax",
    about="log p_i = (x_i - m) - log s along an axis",
    inputs={"x": "row"},
    options=AXIS,
    result="elements",
    formula=formula,
    algorithms=LOG_SOFTMAX,
    adjoints={"backward": lambda a, x: a.log_softmax(x)},
    widest=("exp2",),
    built_on="log p",
    log_of_zero=-1,
    laws=("shift", "permutation", "exp_sums_to_one", "not_positive", "monotone"),
)
