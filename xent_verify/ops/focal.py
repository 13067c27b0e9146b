"""focal: a s**gamma c, the focal loss of logits x against probabilities y, elementwise (Lin et al., ICCV 2017).

c = y softplus(-x) + (1 - y) softplus(x) is the binary cross entropy, s = y sigmoid(-x) + (1 - y) sigmoid(x) the probability of
being wrong, a = alpha y + (1 - alpha) (1 - y), as torchvision.ops.sigmoid_focal_loss; ``alpha`` None: a = 1. ``gamma`` is
positive. A target outside [0, 1] is no probability: nothing is defined then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xent_verify.ops.forms import Form, base_2, base_e, logaddexp, sigmoid, softplus
from xent_verify.ops.op import Op, Option

__all__ = ["OP"]


def by_logarithms(exponential: Form) -> Callable[..., Any]:
    """s**gamma as exp(gamma log s), log s from the logarithms of y and of the sigmoids."""

    def power(a: Any, x: Any, y: Any, gamma: Any) -> Any:
        none, every = a.at_least(-y, 0), a.at_least(y, 1)
        share = a.where(none | every, 0.5, y)
        up, down = softplus(a, x, exponential), softplus(a, -x, exponential)
        both = logaddexp(a, a.log(share) - up, a.log(1 - share) - down, exponential)
        return exponential(a, gamma * a.where(none, -down, a.where(every, -up, both)))

    return _loss(exponential, power)


def by_sigmoids(exponential: Form) -> Callable[..., Any]:
    """s from the sigmoids of both classes, then its power."""

    def power(a: Any, x: Any, y: Any, gamma: Any) -> Any:
        return a.power(y * sigmoid(a, -x, exponential) + (1 - y) * sigmoid(a, x, exponential), gamma)

    return _loss(exponential, power)


def _loss(exponential: Form, power: Callable[..., Any]) -> Callable[..., Any]:
    def run(a: Any, logits: Any, target: Any, gamma: Any, alpha: Any, reduction: str) -> Any:
        x, outside = logits, ~(a.at_least(target, 0) & a.at_least(-target, -1))
        y = a.where(outside, float("nan"), target)
        loss = a.weigh(y, softplus(a, -x, exponential)) + a.weigh(1 - y, softplus(a, x, exponential))
        loss = a.weigh(power(a, x, y, gamma), loss)
        if alpha is not None:
            loss = a.weigh(alpha * y + (1 - alpha) * (1 - y), loss)
        return a.reduce(loss, a.count(loss), reduction)

    return run


OP = Op(
    name="focal",
    about="focal loss alpha_t (1 - p_t)**gamma (-log p_t) of logits against probabilities, elementwise, reduced",
    inputs={"logits": "row", "target": "probabilities"},
    options={
        "gamma": Option(2.0, "factor"),
        "alpha": Option(None, "share"),
        "reduction": Option("mean", "reduction"),
    },
    result="loss",
    formula=None,
    algorithms={
        "logarithms": by_logarithms(base_e),
        "logarithms, exp2": by_logarithms(base_2),
        "sigmoids": by_sigmoids(base_e),
        "sigmoids, exp2": by_sigmoids(base_2),
    },
    adjoints={"backward": by_logarithms(base_e)},
    widest=("logarithms, exp2", "sigmoids, exp2"),
    by_row=False,
    formats=("float64", "float32", "float16", "bfloat16"),
)
