"""logaddexp: log(exp(x) + exp(y)), the logsumexp of [x, y]; -inf and -inf give -inf."""

from __future__ import annotations

from typing import Any

from xent_verify.ops.forms import base_2, logaddexp
from xent_verify.ops.op import Op

__all__ = ["OP"]


def two_sided(a: Any, x: Any, y: Any) -> Any:
    """max(x, y) + log1p(exp(-|x - y|))."""
    return a.logaddexp(x, y)


def exp2_logaddexp(a: Any, x: Any, y: Any) -> Any:
    """The same with a base-2 exponential."""
    return logaddexp(a, x, y, base_2)


OP = Op(
    name="logaddexp",
    about="log(exp(x) + exp(y)), elementwise",
    inputs={"x": "row", "y": "row"},
    options={},
    result="elements",
    formula=None,
    algorithms={"two-sided": two_sided, "exp2": exp2_logaddexp},
    adjoints={"backward": two_sided},
    widest=("exp2",),
    by_row=False,
    log_of_zero=-1,
)
