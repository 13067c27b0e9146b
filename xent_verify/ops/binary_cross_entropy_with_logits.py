"""binary_cross_entropy_with_logits: w (q y softplus(-x) + (1 - y) softplus(x)), softplus(z) = log(1 + exp(z)).

y is a probability, w an elementwise ``weight``, q the ``pos_weight`` (both broadcast against x).

**Bound.** With t = log1p(exp(-|x|)), s = sigmoid(-|x|) and c = 1 + |q - 1| y, both usual forms are accepted. Their terms
cancel, so the errors are absolute, in u::

    max(x, 0) - x y + t:                       |x| y (product) + |x| (difference) + |x| + t (sum)
    (1 - y) x + (1 + (q - 1) y)(t + max(-x, 0)):  2 |x| (1 - y) + (4 + 2) c (t + max(-x, 0)), the factor having 4 roundings

The larger of the two, c (k_exp s + k_log t) for exp and log1p (an error of exp moves t by s times it), 2 |loss| for the
last sum and the weight, times w; then |loss| u_F + eta_F (and eta_arithmetic for exp), reduced like ``cross_entropy``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xent_verify.formats import FloatArray
from xent_verify.model import Batch
from xent_verify.ops.bounds import ErrorModel
from xent_verify.ops.cross_entropy import reduce_bound
from xent_verify.ops.op import Arithmetic, Op, RowInputs

__all__ = ["OP"]


def formula(a: Arithmetic, row: RowInputs, wanted: Sequence[int]) -> list[Any]:
    """-w (q y log sigmoid(x) + (1 - y) log sigmoid(-x))."""
    x, y = row.values[0][0], a.number(row.values[1][0])
    terms = a.row([x, 0.0])
    positive = y * a.number(row.options.get("pos_weight", 1.0))
    negative = a.number(1) - y
    total = a.number(0)
    if not positive.is_zero:
        total = total - positive * terms.log_p(0)
    if not negative.is_zero:
        total = total - negative * terms.log_p(1)
    return [a.number(row.options.get("weight", 1.0)) * total for _ in wanted]


def denominator(a: Arithmetic, batch: Batch) -> Any:
    """The number of elements."""
    return a.number(batch.x.size)


def _factor(batch: Batch, name: str) -> FloatArray:
    raw = batch.options.get(name)
    return np.broadcast_to(np.float64(1.0) if raw is None else np.asarray(raw).astype(np.float64), batch.x.shape)


def bound(batch: Batch, model: ErrorModel) -> FloatArray:
    """See the module docstring."""
    x, y = batch.x.astype(np.float64), batch.inputs["target"].astype(np.float64)
    weight, positive = _factor(batch, "weight"), _factor(batch, "pos_weight")
    with np.errstate(all="ignore"):
        size = np.abs(x)
        tail = np.log1p(np.exp(-size))
        value = np.abs(
            weight
            * (positive * y * (np.maximum(-x, 0) + tail) + np.where(y == 1, 0, 1 - y) * (np.maximum(x, 0) + tail))
        )
        c = 1 + np.abs(positive - 1) * y
        share = 1 / (1 + np.exp(size))
        difference = size * (y + 2) + tail
        factored = size * np.abs(1 - y) * 2 + (tail + np.maximum(-x, 0)) * 6 * c
        elementary = c * (model.k_exp * share + model.k_log * tail)
        error = model.u * (np.abs(weight) * (np.maximum(difference, factored) + elementary) + 2 * value)
        error = error + value * model.u_store + model.eta_exp
        return reduce_bound(value, error, value.size, str(OP.option(batch, "reduction")), model)


OP = Op(
    name="binary_cross_entropy_with_logits",
    about="binary cross entropy of logits against probabilities, elementwise, reduced",
    inputs=("logits", "target"),
    options={"weight": None, "pos_weight": None, "reduction": "mean"},
    result="loss",
    formula=formula,
    bound=bound,
    by_row=False,
    denominator=denominator,
    laws=("not_negative",),
    formats=("float64", "float32", "float16", "bfloat16"),
)
