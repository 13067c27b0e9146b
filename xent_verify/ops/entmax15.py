"""entmax15: p_i = max(x_i / 2 - t, 0)**2 with t so that sum p = 1 (Peters, Niculae & Martins, ACL 2019; alpha = 1.5).

Between softmax and ``sparsemax``: a class at or below t has exactly 0, as one of -inf has. t is the mean of the kept
halves less the square root of what their squares leave of 1.
"""

from __future__ import annotations

from typing import Any

from xent_verify.ops.op import AXIS, Op

__all__ = ["OP"]


def squared(a: Any, x: Any) -> Any:
    """max(z - t, 0)**2 of the halved gaps z = (x - max x) / 2."""
    return a.entmax(x, 2)


OP = Op(
    name="entmax15",
    about="entmax with alpha = 1.5 along an axis: max(x / 2 - t, 0)**2 with sum 1",
    inputs={"x": "row"},
    options=AXIS,
    result="elements",
    formula=None,
    algorithms={"threshold": squared},
    laws=("shift", "permutation", "sum_to_one", "range", "monotone"),
    formats=("float64", "float32", "float16", "bfloat16"),
)
