"""nll: the negative log-likelihood of class labels for given log-probabilities [N, C], as torch.nn.functional.nll_loss.

It is ``cross_entropy`` without the softmax: -w_t x_t, 0 where the label is ignored; "mean" divides by the weights that count. The
log-probabilities are taken as they are, whatever their exponentials add up to.
"""

from __future__ import annotations

from typing import Any

from xent_verify.ops.cross_entropy import composed
from xent_verify.ops.op import Op, Option

__all__ = ["OP"]

_loss = composed(lambda _a, x: x, given=True)


def gathered(a: Any, log_probabilities: Any, target: Any, **options: Any) -> Any:
    """Weights times the labels' elements."""
    return _loss(a, log_probabilities, target, label_smoothing=a.lift(0), **options)


OP = Op(
    name="nll",
    about="negative log-likelihood of class indices [N] for log-probabilities [N, C]",
    inputs={"log_probabilities": "row", "target": "label"},
    options={
        "weight": Option(None, "class_weights"),
        "ignore_index": Option(-100, "ignored_label"),
        "reduction": Option("mean", "reduction"),
    },
    result="loss",
    formula=None,
    algorithms={"gathered": gathered},
    formats=("float64", "float32", "float16", "bfloat16"),
)
