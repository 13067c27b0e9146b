"""cross_entropy_grad: the gradient of the per-sample loss, p_i - [i = t], or p_i sum(y) - y_i.

At the target p - 1 and -sum of the others are both sound. Targets that sum to 1 but for their own rounding may be taken as
summing to 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xent_verify.ops.forms import SOFTMAX, Form
from xent_verify.ops.op import Arithmetic, Op, RowInputs

__all__ = ["OP"]


def formula(a: Arithmetic, row: RowInputs, wanted: Sequence[int]) -> list[Any]:
    """p_i sum(y) - y_i."""
    logits, target = row.values
    terms = a.row(logits)
    if not np.ndim(target):
        one = a.number(1)
        return [terms.p_minus(i, a.number(int(i == int(target))), one) for i in wanted]
    total = a.number(0)
    for y in target:
        total = total + a.number(y)
    return [terms.p_minus(i, a.number(target[i]), total) for i in wanted]


def difference(softmax: Form) -> Callable[..., Any]:
    """p - onehot(t), or p sum(y) - y."""

    def run(a: Any, logits: Any, target: Any) -> Any:
        p = softmax(a, logits)
        if a.is_labels(target):
            return p - a.where(a.hot(target, a.width(p)), 1, 0)
        return p * a.nearly(a.sum(target), 1.0, a.width(p)) - target

    return run


def others(a: Any, logits: Any, target: Any) -> Any:
    """p, and -sum_(j != t) p_j at the target."""
    p = SOFTMAX["exp2"](a, logits)
    if not a.is_labels(target):
        return p * a.sum(target) - target
    hot = a.hot(target, a.width(p))
    return a.where(hot, -a.sum(a.where(hot, 0, p)), p)


OP = Op(
    name="cross_entropy_grad",
    about="gradient of the per-sample cross entropy with respect to the logits [N, C]",
    inputs={"logits": "row", "target": "target"},
    options={},
    result="elements",
    formula=formula,
    algorithms={"others": others, **{name: difference(form) for name, form in SOFTMAX.items()}},
    widest=("others", "reciprocal", "exp of log"),
    built_on="p",
    laws=("shift", "rows_sum_to_zero"),
    formats=("float64", "float32", "float16", "bfloat16"),
)
