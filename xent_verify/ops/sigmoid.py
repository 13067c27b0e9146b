"""sigmoid: 1 / (1 + exp(-x)), the softmax of [x, 0]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xent_verify.ops.forms import base_2, sigmoid
from xent_verify.ops.op import Arithmetic, Op, RowInputs

__all__ = ["OP"]


def formula(a: Arithmetic, row: RowInputs, wanted: Sequence[int]) -> list[Any]:
    """exp(x) / (exp(x) + exp(0))."""
    terms = a.row([row.values[0][0], 0.0])
    return [terms.p(0) for _ in wanted]


def exp2_sigmoid(a: Any, x: Any) -> Any:
    """The same with a base-2 exponential."""
    return sigmoid(a, x, base_2)


def exp_of_log(a: Any, x: Any) -> Any:
    """exp(log sigmoid(x))."""
    return a.exp(a.minimum(x, 0) - a.log1p(base_2(a, -a.abs(x))))


OP = Op(
    name="sigmoid",
    about="1 / (1 + exp(-x)), elementwise",
    inputs={"x": "row"},
    options={},
    result="elements",
    formula=formula,
    algorithms={"two-sided": sigmoid, "exp2": exp2_sigmoid, "exp of log": exp_of_log},
    adjoints={"backward": lambda a, x: a.sigmoid(x)},
    widest=("exp2", "exp of log"),
    by_row=False,
    built_on="p",
    laws=("range",),
)
