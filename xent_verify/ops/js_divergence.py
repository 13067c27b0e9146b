"""js_divergence: (KL(p || m) + KL(q || m)) / 2, p and q the softmax of two rows, m = (p + q) / 2, in nats.

A class that neither p nor q has contributes 0; the largest value is log 2. Where p and q nearly agree the value is of the
size of the square of what tells them apart, and terms of both signs cancel: no digit of a small one is promised.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xent_verify.ops.forms import LN_2, LOG_SOFTMAX, Form
from xent_verify.ops.op import AXIS, Op

__all__ = ["OP"]


def by_logarithms(log_softmax: Form) -> Callable[..., Any]:
    """Sums of p (log p - log m) and q (log q - log m), log m = logaddexp(log p, log q) - log 2."""

    def run(a: Any, p_logits: Any, q_logits: Any) -> Any:
        log_p, log_q = log_softmax(a, p_logits), log_softmax(a, q_logits)
        log_m = a.logaddexp(log_p, log_q) - a.constant(LN_2)
        left = a.sum(a.weigh(a.exp(log_p), log_p - log_m))
        return (left + a.sum(a.weigh(a.exp(log_q), log_q - log_m))) * 0.5

    return run


def by_ratios(a: Any, p_logits: Any, q_logits: Any) -> Any:
    """log p - log m = -log((1 + q/p) / 2) from r = log q - log p: exactly 0 where the rows agree."""
    log_p, log_q = a.log_softmax(p_logits), a.log_softmax(q_logits)

    def part(own: Any, other: Any) -> Any:
        r = other - own
        log_ratio = a.maximum(r, 0) + a.log((1 + a.exp(-a.abs(r))) * 0.5)
        return a.sum(a.weigh(a.exp(own), -log_ratio))

    return (part(log_p, log_q) + part(log_q, log_p)) * 0.5


OP = Op(
    name="js_divergence",
    about="Jensen-Shannon divergence of the softmax of two rows of logits, in nats, along an axis, which is removed",
    inputs={"p_logits": "row", "q_logits": "row"},
    options=AXIS,
    result="rows",
    formula=None,
    algorithms={
        "ratios": by_ratios,
        "logarithms": by_logarithms(LOG_SOFTMAX["shifted"]),
        "logarithms, exp2": by_logarithms(LOG_SOFTMAX["exp2"]),
    },
    adjoints={"backward": by_logarithms(lambda a, x: a.log_softmax(x))},
)
