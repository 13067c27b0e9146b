"""softmax_one: exp(x_i) / (1 + sum_j exp(x_j)), the softmax of [x, 0] without its last element ("off by one").

Attention uses it so that a head may attend to nothing; a row of -inf alone gives zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xent_verify.ops.forms import Form, base_2, base_e
from xent_verify.ops.op import AXIS, Op

__all__ = ["OP"]


def shifted(exponential: Form) -> Callable[..., Any]:
    """e_i / (sum e_j + exp(-m)), e_i = exp(x_i - m), m = max(max x, 0)."""

    def run(a: Any, x: Any) -> Any:
        m = a.maximum(a.max(x), 0)
        e = exponential(a, x - m)
        return e / (a.sum(e) + exponential(a, -m))

    return run


def reciprocal(a: Any, x: Any) -> Any:
    """The same with one reciprocal a row."""
    m = a.maximum(a.max(x), 0)
    e = base_2(a, x - m)
    return e * (1 / (a.sum(e) + base_2(a, -m)))


def exp_of_log(a: Any, x: Any) -> Any:
    """exp(x - log(1 + sum exp x)), the logarithm about m."""
    m = a.maximum(a.max(x), 0)
    return a.exp((x - m) - a.log(a.sum(a.exp(x - m)) + a.exp(-m)))


OP = Op(
    name="softmax_one",
    about="exp(x_i) / (1 + sum_j exp(x_j)) along an axis",
    inputs={"x": "row"},
    options=AXIS,
    result="elements",
    formula=None,
    algorithms={
        "shifted": shifted(base_e),
        "exp2": shifted(base_2),
        "reciprocal": reciprocal,
        "exp of log": exp_of_log,
    },
    adjoints={"backward": shifted(base_e)},
    laws=("permutation", "range", "monotone"),
)
