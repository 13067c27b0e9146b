"""softmax_temperature: softmax(x / T), with the quotient exact.

The usual algorithms divide first, or multiply by 1 / T: each logit then has an error of |x_i / T| u, and T itself may be
rounded to the format. Where |x / T| u is large against 1 they promise nothing, unless T is a power of two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xent_verify.ops.forms import SOFTMAX
from xent_verify.ops.op import AXIS, Arithmetic, Op, Option, RowInputs

__all__ = ["OP"]


def formula(a: Arithmetic, row: RowInputs, wanted: Sequence[int]) -> list[Any]:
    """exp(x_i / T) / sum_j exp(x_j / T)."""
    terms = a.row(row.values[0], a.number(row.options.get("temperature", 1.0)))
    return [terms.p(i) for i in wanted]


def divided(a: Any, x: Any, temperature: Any) -> Any:
    """softmax(x / T)."""
    return SOFTMAX["exp2"](a, x / temperature)


def multiplied(a: Any, x: Any, temperature: Any) -> Any:
    """softmax(x * (1 / T))."""
    return SOFTMAX["exp of log"](a, x * (1 / temperature))


OP = Op(
    name="softmax_temperature",
    about="softmax(x / temperature) along an axis",
    inputs={"x": "row"},
    options={"temperature": Option(1.0, "divisor", always=True), **AXIS},
    result="elements",
    formula=formula,
    algorithms={"divided": divided, "multiplied": multiplied},
    adjoints={"backward": lambda a, x, temperature: a.softmax(x / temperature)},
    built_on="p",
    laws=("permutation", "sum_to_one", "range", "monotone"),
)
