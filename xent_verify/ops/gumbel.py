"""gumbel: -log(-log u) of uniform numbers u in (0, 1), elementwise: standard Gumbel noise, which sampling adds to logits.

0 gives -inf and 1 gives inf. Of a number outside [0, 1] it is not defined.
"""

from __future__ import annotations

from typing import Any

from xent_verify.ops.forms import LN_2
from xent_verify.ops.op import Op

__all__ = ["OP"]


def twice(a: Any, u: Any) -> Any:
    """Two natural logarithms."""
    return -a.log(-a.log(u))


def twice_base_2(a: Any, u: Any) -> Any:
    """The same with logarithms to base 2."""
    return -(a.log2(-(a.log2(u) * a.constant(LN_2))) * a.constant(LN_2))


OP = Op(
    name="gumbel",
    about="-log(-log(u)) of uniform numbers, elementwise",
    inputs={"u": "row"},
    options={},
    result="elements",
    formula=None,
    algorithms={"logarithms": twice, "base 2": twice_base_2},
    by_row=False,
    formats=("float64", "float32", "float16", "bfloat16"),
)
