"""kl_divergence_log: sum_i p_i (log p_i - log q_i) of given log-probabilities, in nats.

It is ``kl_divergence`` without the softmax, as torch.nn.functional.kl_div with ``log_target``: both arrays are taken as they
are, whatever their exponentials add up to. ``reverse`` exchanges them: sum_i q_i (log q_i - log p_i). A class without
probability (-inf) contributes 0; one that only the second distribution lacks makes the divergence infinite. A weight of
exp(64) or more is that of no probability: what the divergence is then is not defined.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xent_verify.ops.forms import Form, base_2, base_e
from xent_verify.ops.op import AXIS, Op, Option

__all__ = ["OP"]

_NO_LOG = 64.0
"""From here on a number is no log-probability, not even one that roundings have made positive."""


def of_differences(exponential: Form) -> Callable[..., Any]:
    """exp(log p) times the difference of the logarithms, added up."""

    def run(a: Any, log_p: Any, log_q: Any, reverse: bool) -> Any:
        own, other = (log_q, log_p) if reverse else (log_p, log_q)
        weight = exponential(a, a.where(a.at_least(own, _NO_LOG), float("nan"), own))
        return a.sum(a.weigh(weight, own - other))

    return run


OP = Op(
    name="kl_divergence_log",
    about="sum of exp(log_p) (log_p - log_q) along an axis, which is removed; of q and p if reverse",
    inputs={"log_p": "row", "log_q": "row"},
    options={"reverse": Option(False, "flag"), **AXIS},
    result="rows",
    formula=None,
    algorithms={"differences": of_differences(base_e), "differences, exp2": of_differences(base_2)},
    widest=("differences, exp2",),
    formats=("float64", "float32", "float16", "bfloat16"),
)
