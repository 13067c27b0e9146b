"""linear_cross_entropy: the cross entropy of the logits hidden W^T + bias, which fused kernels never store.

hidden [N, n], weight [V, n], labels [N] in [0, V). The products are those of the numbers that the arrays hold; what follows is
``cross_entropy`` with all of its options but weights of classes (``weight`` is the matrix).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xent_verify.ops.cross_entropy import composed
from xent_verify.ops.forms import LOG_SOFTMAX, Form
from xent_verify.ops.op import Op, Option

__all__ = ["OP"]


def of_products(log_softmax: Form) -> Callable[..., Any]:
    """cross entropy of the products, plus the bias."""
    loss = composed(log_softmax)

    def run(a: Any, hidden: Any, weight: Any, target: Any, bias: Any, **options: Any) -> Any:
        logits = a.product(hidden, weight)
        return loss(a, logits if bias is None else logits + bias, target, weight=None, **options)

    return run


whole = of_products(lambda a, x: a.log_softmax(x))

OP = Op(
    name="linear_cross_entropy",
    about="cross entropy of logits hidden [N, n] weight [V, n]^T + bias [V] against class indices [N]",
    inputs={"hidden": "row", "weight": "matrix", "target": "label"},
    options={
        "bias": Option(None, "score_number"),
        "ignore_index": Option(-100, "ignored_label"),
        "reduction": Option("mean", "reduction"),
        "label_smoothing": Option(0.0, "share"),
        "softcap": Option(None, "cap", rare=True),
        "lse_square_scale": Option(0.0, "share", rare=True),
    },
    result="loss",
    formula=None,
    algorithms={"of products": whole, "of products, exp2": of_products(LOG_SOFTMAX["exp2"])},
    adjoints={"backward": whole},
    log_of_zero=1,
    formats=("float64", "float32", "float16", "bfloat16"),
)
