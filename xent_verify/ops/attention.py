"""attention: o_i = sum_j p_ij v_j, p_i the softmax over the kept keys of c q_i . k_j + b_ij; attention_lse: its logsumexp.

q [.., R, n], k [.., K, n], v [.., K, m] with the same leading axes; the products are those of the numbers that the arrays
hold. ``scale`` c multiplies the products (1 / sqrt n of attention; its default here is 1), ``softcap`` s puts s tanh(z / s) in
the place of each scaled product z, ``bias`` b is added to that, then ``mask`` (True where a key is kept) and ``causal`` (key j
of row i is kept where j <= i + K - R) take keys away. What a masked score would be does not matter; a masked key's values are
multiplied by 0.

Without a kept key a row has no softmax: o is undefined (NaN, 0 and others are conventions), its logsumexp is -inf.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from xent_verify.ops.forms import LOGSUMEXP, Form, base_2, base_e, capped
from xent_verify.ops.op import Op, Option

__all__ = ["LSE", "OP"]


def scores(
    a: Any, q: Any, k: Any, scale: Any, softcap: Any, bias: Any, mask: Any, causal: Any, *, early: bool = False
) -> Any:
    """c (q . k) + b, or (c q) . k + b where ``early``, capped before the bias; -inf where a key is taken away."""
    z = capped(a, a.product(q * scale, k) if early else a.product(q, k) * scale, softcap)
    if bias is not None:
        z = z + bias
    for kept in (mask, causal):
        if kept is not None:
            z = a.where(kept, z, -float("inf"))
    return z


def normalised(exponential: Form, *, early: bool = False) -> Callable[..., Any]:
    """p = e / sum e, then the weighted sum."""

    def run(a: Any, q: Any, k: Any, v: Any, **options: Any) -> Any:
        z = scores(a, q, k, early=early, **options)
        e = exponential(a, z - a.max(z))
        return a.mix(e / a.sum(e), v)

    return run


def divided(exponential: Form, *, early: bool = False) -> Callable[..., Any]:
    """The weighted sum of e, divided by sum e at the end, as kernels that pass over blocks of keys do."""

    def run(a: Any, q: Any, k: Any, v: Any, **options: Any) -> Any:
        z = scores(a, q, k, early=early, **options)
        e = exponential(a, z - a.max(z))
        return a.mix(e, v) / a.sum(e)

    return run


def whole(a: Any, q: Any, k: Any, v: Any, **options: Any) -> Any:
    """Softmax as it is differentiated."""
    return a.mix(a.softmax(scores(a, q, k, **options)), v)


def summed(logsumexp: Form, *, early: bool = False) -> Callable[..., Any]:
    """The logsumexp of the scores."""

    def run(a: Any, q: Any, k: Any, **options: Any) -> Any:
        return logsumexp(a, scores(a, q, k, early=early, **options))

    return run


def logsumexp_of(a: Any, q: Any, k: Any, **options: Any) -> Any:
    """The definition, with the limits of an infinite maximum."""
    return a.logsumexp(scores(a, q, k, **options))


_OPTIONS: Mapping[str, Option] = {
    "scale": Option(1.0, "factor"),
    "softcap": Option(None, "cap", rare=True),
    "bias": Option(None, "bias"),
    "mask": Option(None, "mask"),
    "causal": Option(False, "causal"),
}

OP = Op(
    name="attention",
    about="softmax(scale * q k^T + bias) v over the keys that mask and causal keep; q [.., R, n], k [.., K, n], v [.., K, m]",
    inputs={"q": "row", "k": "matrix", "v": "values"},
    options=_OPTIONS,
    result="elements",
    formula=None,
    algorithms={
        "normalised": normalised(base_e),
        "divided": divided(base_e),
        "divided, exp2": divided(base_2),
        "queries scaled": normalised(base_2, early=True),
    },
    adjoints={"backward": whole},
)

LSE = Op(
    name="attention_lse",
    about="logsumexp(scale * q k^T + bias) over the keys that mask and causal keep; q [.., R, n], k [.., K, n]",
    inputs={"q": "row", "k": "matrix"},
    options=_OPTIONS,
    result="rows",
    formula=None,
    algorithms={
        "shifted": logsumexp_of,
        "exp2": summed(LOGSUMEXP["exp2"]),
        "queries scaled": summed(LOGSUMEXP["exp2"], early=True),
    },
    adjoints={"backward": logsumexp_of},
)
