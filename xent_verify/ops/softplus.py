"""softplus: log(1 + exp(x)), the logsumexp of [x, 0]."""

from __future__ import annotations

from typing import Any

from xent_verify.ops.forms import base_2, direct_softplus, softplus
from xent_verify.ops.op import Op

__all__ = ["OP"]


def two_sided(a: Any, x: Any) -> Any:
    """max(x, 0) + log1p(exp(-|x|)): two terms of one sign."""
    return a.softplus(x)


def exp2_softplus(a: Any, x: Any) -> Any:
    """The same with a base-2 exponential."""
    return softplus(a, x, base_2)


OP = Op(
    name="softplus",
    about="log(1 + exp(x)), elementwise",
    inputs={"x": "row"},
    options={},
    result="elements",
    formula=None,
    algorithms={"two-sided": two_sided, "exp2": exp2_softplus, "direct": direct_softplus},
    adjoints={"backward": two_sided},
    widest=("exp2", "direct"),
    by_row=False,
    built_on="logsumexp",
    laws=("not_negative",),
)
