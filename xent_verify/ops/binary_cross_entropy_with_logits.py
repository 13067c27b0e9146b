"""binary_cross_entropy_with_logits: w (q y softplus(-x) + (1 - y) softplus(x)), softplus(z) = log(1 + exp(z)).

y is a probability, w an elementwise ``weight``, q the ``pos_weight`` (both broadcast against x).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from xent_verify.ops.forms import base_2, base_e
from xent_verify.ops.op import Arithmetic, Op, Option, RowInputs

__all__ = ["OP"]


def formula(a: Arithmetic, row: RowInputs, wanted: Sequence[int]) -> list[Any]:
    """-w (q y log sigmoid(x) + (1 - y) log sigmoid(-x))."""
    x, y = row.values[0][0], a.number(row.values[1][0])
    terms = a.row([x, 0.0])
    positive = y * a.number(row.options.get("pos_weight", 1.0))
    negative = a.number(1) - y
    total = a.number(0)
    if not positive.is_zero:
        total = total - positive * terms.log_p(0)
    if not negative.is_zero:
        total = total - negative * terms.log_p(1)
    return [a.number(row.options.get("weight", 1.0)) * total for _ in wanted]


def factored(exponential: Callable[..., Any]) -> Callable[..., Any]:
    """(1 - y) x + (1 + (q - 1) y) (log1p(exp(-|x|)) + max(-x, 0))."""

    def run(a: Any, logits: Any, target: Any, weight: Any, pos_weight: Any, reduction: str) -> Any:
        x, y = logits, target
        softplus = a.log1p(exponential(a, -a.abs(x))) + a.maximum(-x, 0)
        factor = 1 + (pos_weight - 1) * y if pos_weight is not None else 1
        return _reduced(a, (1 - y) * x + factor * softplus, weight, reduction)

    return run


def difference(exponential: Callable[..., Any]) -> Callable[..., Any]:
    """max(x, 0) - x y + log1p(exp(-|x|)), as it is used without ``pos_weight``; else w split over both logarithms."""

    def run(a: Any, logits: Any, target: Any, weight: Any, pos_weight: Any, reduction: str) -> Any:
        x, y = logits, target
        tail = a.log1p(exponential(a, -a.abs(x)))
        if pos_weight is None:
            return _reduced(a, (a.maximum(x, 0) - x * y) + tail, weight, reduction)
        positive = a.weigh(pos_weight * y, a.maximum(-x, 0) + tail)
        return _reduced(a, positive + a.weigh(1 - y, a.maximum(x, 0) + tail), weight, reduction)

    return run


def _reduced(a: Any, loss: Any, weight: Any, reduction: str) -> Any:
    loss = a.weigh(weight, loss) if weight is not None else loss
    return a.reduce(loss, a.count(loss), reduction)


OP = Op(
    name="binary_cross_entropy_with_logits",
    about="binary cross entropy of logits against probabilities, elementwise, reduced",
    inputs={"logits": "row", "target": "probabilities"},
    options={
        "weight": Option(None, "element_weights"),
        "pos_weight": Option(None, "element_weights"),
        "reduction": Option("mean", "reduction"),
    },
    result="loss",
    formula=formula,
    algorithms={
        "factored": factored(base_e),
        "factored, exp2": factored(base_2),
        "difference": difference(base_e),
        "difference, exp2": difference(base_2),
    },
    widest=("factored, exp2", "difference, exp2"),
    by_row=False,
    built_on="log p",
    log_of_zero=1,
    laws=("not_negative",),
    formats=("float64", "float32", "float16", "bfloat16"),
)
