"""logmeanexp: log of the mean of exp(x_j), L - log n."""

from __future__ import annotations

from typing import Any

from xent_verify.ops.forms import LN_2, LOGSUMEXP, base_2
from xent_verify.ops.op import AXIS, Op

__all__ = ["OP"]


def mean_inside(a: Any, x: Any) -> Any:
    """m + log(sum exp(x - m) / n)."""
    m = a.max(x)
    return m + a.log(a.sum(a.exp(x - m)) / a.width(x))


def mean_inside_exp2(a: Any, x: Any) -> Any:
    """The same with a base-2 exponential and logarithm."""
    m = a.max(x)
    return m + a.log2(a.sum(base_2(a, x - m)) / a.width(x)) * a.constant(LN_2)


def difference(a: Any, x: Any) -> Any:
    """logsumexp(x) - log n."""
    return a.logsumexp(x) - a.log(a.lift(a.width(x)))


def difference_exp2(a: Any, x: Any) -> Any:
    """The same with a base-2 exponential and logarithm."""
    return LOGSUMEXP["exp2"](a, x) - a.log(a.lift(a.width(x)))


OP = Op(
    name="logmeanexp",
    about="log(mean(exp(x))) along an axis, which is removed",
    inputs={"x": "row"},
    options=AXIS,
    result="rows",
    formula=None,
    algorithms={
        "difference": difference,
        "difference, exp2": difference_exp2,
        "mean inside": mean_inside,
        "mean inside, exp2": mean_inside_exp2,
    },
    adjoints={"backward": difference},
    log_of_zero=-1,
    laws=("shift_adds", "permutation"),
)
