"""topk_softmax: the k largest softmax weights of a row in falling order, as gates of mixtures of experts choose them.

``renormalise`` False: p_i of the softmax over all logits (softmax, then top-k). True: divided by their sum, which is the
softmax of the k largest logits alone (top-k, then softmax). Equal logits have equal weights, so that the result does not
depend on which of them is chosen. A NaN anywhere in the row is a NaN in the result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xent_verify.ops.forms import SOFTMAX, Form, base_2, base_e
from xent_verify.ops.op import Op, Option

__all__ = ["OP"]


def chosen(softmax: Form) -> Callable[..., Any]:
    """The k largest of a softmax; divided by their sum where asked."""

    def run(a: Any, x: Any, k: int, renormalise: bool) -> Any:
        top = a.take(softmax(a, x), a.ranking(x)[:, :k])
        return top / a.sum(top) if renormalise else top

    return run


def of_chosen(exponential: Form) -> Callable[..., Any]:
    """exp(x - m) of the k largest, over the sum of theirs or of all."""

    def run(a: Any, x: Any, k: int, renormalise: bool) -> Any:
        m = a.max(x)
        e = exponential(a, x - m)
        top = a.take(e, a.ranking(x)[:, :k])
        return top / a.sum(top if renormalise else e)

    return run


whole = chosen(lambda a, x: a.softmax(x))

OP = Op(
    name="topk_softmax",
    about="the k largest softmax weights of each row in falling order [.., k], divided by their sum if renormalise",
    inputs={"x": "row"},
    options={"k": Option(2, "count"), "renormalise": Option(False, "flag")},
    result="elements",
    formula=None,
    algorithms={
        "of chosen": of_chosen(base_e),
        "of chosen, exp2": of_chosen(base_2),
        "chosen": chosen(SOFTMAX["shifted"]),
        "chosen, reciprocal": chosen(SOFTMAX["reciprocal"]),
    },
    adjoints={"backward": whole},
)
