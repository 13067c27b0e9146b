"""kl_divergence: KL(p || q) = sum_i p_i (log p_i - log q_i) for p, q the softmax of two rows of logits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from xent_verify.core.formats import FloatArray
from xent_verify.ops.forms import LOG_SOFTMAX, SOFTMAX, Form
from xent_verify.ops.op import AXIS, Arithmetic, Op, RowInputs

__all__ = ["OP"]


def formula(a: Arithmetic, row: RowInputs, wanted: Sequence[int]) -> list[Any]:
    """sum_i p_i (log p_i - log q_i) over p_i > 0; exactly 0 where the rows differ by a constant."""
    first, second = (np.asarray(value, np.float64) for value in row.values)
    live = np.flatnonzero(np.isfinite(first))
    if _same_distribution(a, first, second):
        return [a.number(0) for _ in wanted]
    p, q = a.row(list(first)), a.row(list(second))
    total = a.number(0)
    for i in live:
        total = total + p.p(int(i)) * (p.log_p(int(i)) - q.log_p(int(i)))
    return [a.unproved(total) for _ in wanted]


def _same_distribution(a: Arithmetic, first: FloatArray, second: FloatArray) -> bool:
    if not np.array_equal(np.isfinite(first), np.isfinite(second)):
        return False
    live = np.flatnonzero(np.isfinite(first))
    shift = a.number(first[live[0]]) - a.number(second[live[0]])
    return all((a.number(first[i]) - a.number(second[i]) - shift).is_zero for i in live)


def composed(softmax: Form, log_softmax: Form) -> Callable[..., Any]:
    """sum_i p_i (log p_i - log q_i) of stored log-softmaxes; p_i = 0 contributes nothing."""

    def run(a: Any, logits_p: Any, logits_q: Any) -> Any:
        log_p, log_q = (a.store(log_softmax(a, x)) for x in (logits_p, logits_q))
        return a.sum(a.weigh(softmax(a, logits_p), log_p - log_q))

    return run


ALGORITHMS: Mapping[str, Callable[..., Any]] = {
    form: composed(SOFTMAX[form], LOG_SOFTMAX[form]) for form in LOG_SOFTMAX
}

OP = Op(
    name="kl_divergence",
    about="KL(softmax(logits_p) || softmax(logits_q)) along an axis, which is removed",
    inputs={"logits_p": "row", "logits_q": "row"},
    options=AXIS,
    result="rows",
    formula=formula,
    algorithms=ALGORITHMS,
    adjoints={"backward": composed(lambda a, x: a.softmax(x), lambda a, x: a.log_softmax(x))},
    widest=("exp2",),
    laws=("shift", "not_negative"),
    formats=("float64", "float32", "float16", "bfloat16"),
)
