"""logsumexp: L = log sum_j exp(x_j) = m + log s."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xent_verify.ops.forms import LOGSUMEXP
from xent_verify.ops.op import AXIS, Arithmetic, Op, RowInputs

__all__ = ["OP"]


def formula(a: Arithmetic, row: RowInputs, wanted: Sequence[int]) -> list[Any]:
    """L = m + log sum_j exp(x_j - m)."""
    terms = a.row(row.values[0])
    return [terms.log_sum_exp() for _ in wanted]


OP = Op(
    name="logsumexp",
    about="L = log sum_j exp(x_j) along an axis, which is removed",
    inputs={"x": "row"},
    options=AXIS,
    result="rows",
    formula=formula,
    algorithms=LOGSUMEXP,
    adjoints={"backward": lambda a, x: a.logsumexp(x)},
    widest=("exp2",),
    built_on="logsumexp",
    log_of_zero=-1,
    laws=("shift_adds", "permutation", "at_least_max", "concatenation"),
)
