"""z_loss: L**2 of L = logsumexp(x), the penalty that keeps the normaliser of large vocabularies near 1 (PaLM, ST-MoE)."""

from __future__ import annotations

from typing import Any

from xent_verify.ops.forms import LOGSUMEXP
from xent_verify.ops.op import AXIS, Op

__all__ = ["OP"]


def squared(a: Any, x: Any) -> Any:
    """logsumexp(x)**2."""
    return a.logsumexp(x) ** 2


def squared_exp2(a: Any, x: Any) -> Any:
    """The same with a base-2 exponential and logarithm."""
    return LOGSUMEXP["exp2"](a, x) ** 2


OP = Op(
    name="z_loss",
    about="logsumexp(x)**2 along an axis, which is removed",
    inputs={"x": "row"},
    options=AXIS,
    result="rows",
    formula=None,
    algorithms={"squared": squared, "squared, exp2": squared_exp2},
    adjoints={"backward": squared},
    widest=("squared, exp2",),
    laws=("permutation", "not_negative"),
)
