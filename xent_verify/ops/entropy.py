"""entropy: H = -sum_i p_i log p_i of p = softmax(x), in nats; p_i = 0 contributes 0.

Written as log s + sum_i p_i (m - x_i), m = max x, s = sum exp(x_j - m), both terms are of one sign, so that nothing cancels.
L - sum_i p_i x_i is the same number with a cancellation of the size of a common offset: its error is |offset| u.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xent_verify.ops.forms import LN_2, LOG_SOFTMAX, SOFTMAX, Form, base_2
from xent_verify.ops.op import AXIS, Op

__all__ = ["OP"]


def composed(softmax: Form, log_softmax: Form) -> Callable[..., Any]:
    """-sum_i p_i log p_i of a softmax and a log-softmax."""

    def run(a: Any, x: Any) -> Any:
        return a.sum(a.weigh(softmax(a, x), -log_softmax(a, x)))

    return run


def gaps(a: Any, x: Any) -> Any:
    """log s + sum_i p_i (m - x_i): log p is never formed."""
    d = x - a.max(x)
    e = base_2(a, d)
    s = a.sum(e)
    return a.log2(s) * a.constant(LN_2) + a.sum(a.weigh(e, -d)) / s


def whole(a: Any, x: Any) -> Any:
    """The definition, of softmax and log-softmax as they are in each reading."""
    return composed(lambda a, x: a.softmax(x), lambda a, x: a.log_softmax(x))(a, x)


OP = Op(
    name="entropy",
    about="H = -sum_i p_i log p_i of p = softmax(x) along an axis, which is removed",
    inputs={"x": "row"},
    options=AXIS,
    result="rows",
    formula=None,
    algorithms={
        "p log p": whole,
        "p log p, exp2": composed(SOFTMAX["exp2"], LOG_SOFTMAX["exp2"]),
        "exp of log": composed(SOFTMAX["exp of log"], LOG_SOFTMAX["shifted"]),
        "gaps": gaps,
    },
    adjoints={"backward": whole},
    laws=("shift", "permutation", "not_negative"),
)
