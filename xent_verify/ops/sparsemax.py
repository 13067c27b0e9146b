"""sparsemax: the nearest point of the simplex, p_i = max(x_i - t, 0) with t so that sum p = 1 (Martins & Astudillo, ICML 2016).

The values are rational and known exactly. A class at or below t has exactly 0, as one of -inf has. The gradient by a class
just at t is 0; where roundings decide on which side of t it lies the gradient is not judged.
"""

from __future__ import annotations

from typing import Any

from xent_verify.ops.op import AXIS, Op

__all__ = ["OP"]


def sparse(a: Any, x: Any) -> Any:
    """max(z - t, 0) of the gaps z = x - max x."""
    return a.entmax(x, 1)


OP = Op(
    name="sparsemax",
    about="the nearest point of the simplex along an axis: max(x - t, 0) with sum 1",
    inputs={"x": "row"},
    options=AXIS,
    result="elements",
    formula=None,
    algorithms={"threshold": sparse},
    laws=("shift", "permutation", "sum_to_one", "range", "monotone"),
    formats=("float64", "float32", "float16", "bfloat16"),
)
