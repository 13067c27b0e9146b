"""log_sigmoid: -log(1 + exp(-x)), the log-softmax of [x, 0]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xent_verify.ops.forms import base_2, direct_softplus, softplus
from xent_verify.ops.op import Arithmetic, Op, RowInputs

__all__ = ["OP"]


def formula(a: Arithmetic, row: RowInputs, wanted: Sequence[int]) -> list[Any]:
    """x - log(exp(x) + exp(0))."""
    terms = a.row([row.values[0][0], 0.0])
    return [terms.log_p(0) for _ in wanted]


def two_sided(a: Any, x: Any) -> Any:
    """min(x, 0) - log1p(exp(-|x|)): two terms of one sign."""
    return -softplus(a, -x)


def exp2_log_sigmoid(a: Any, x: Any) -> Any:
    """The same with a base-2 exponential."""
    return -softplus(a, -x, base_2)


def direct(a: Any, x: Any) -> Any:
    """-log1p(exp(-x)) where exp does not overflow."""
    return -direct_softplus(a, -x)


OP = Op(
    name="log_sigmoid",
    about="log(1 / (1 + exp(-x))), elementwise",
    inputs={"x": "row"},
    options={},
    result="elements",
    formula=formula,
    algorithms={"two-sided": two_sided, "exp2": exp2_log_sigmoid, "direct": direct},
    adjoints={"backward": lambda a, x: -a.softplus(-x)},
    widest=("exp2", "direct"),
    by_row=False,
    built_on="log p",
    log_of_zero=-1,
    laws=("not_positive",),
)
