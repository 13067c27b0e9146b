"""attention_softmax: p_i = exp(c x_i) / (sum_j exp(c x_j) + exp(sink)) over the kept scores; 0 for the masked ones.

``scale`` c multiplies the scores (1 / sqrt d of attention). ``softcap`` s puts s tanh(c x / s) in the place of c x, before the
mask: a score of -inf becomes -s, and only the mask takes a score away. ``mask`` is True where a score is kept; what a masked
score holds does not matter. ``sink`` is a logit that takes part in the denominator alone, neither scaled nor capped nor masked
("attention sinks"). Without a kept score and without a sink a row has no softmax: NaN, and what an implementation answers
there is a convention; with a sink it is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xent_verify.ops.forms import Form, base_2, base_e, capped
from xent_verify.ops.op import AXIS, Op, Option

__all__ = ["OP"]


def _scores(a: Any, x: Any, scale: Any, softcap: Any, mask: Any) -> Any:
    scaled = capped(a, x * scale, softcap)
    return scaled if mask is None else a.where(mask, scaled, -float("inf"))


def _about(a: Any, z: Any, sink: Any) -> Any:
    return a.max(z) if sink is None else a.maximum(a.max(z), sink)


def shifted(exponential: Form) -> Callable[..., Any]:
    """e_i / (sum e_j + exp(sink - m)), e_i = exp(z_i - m), m the largest of the kept z and the sink."""

    def run(a: Any, x: Any, scale: Any, softcap: Any, mask: Any, sink: Any) -> Any:
        z = _scores(a, x, scale, softcap, mask)
        m = _about(a, z, sink)
        e = exponential(a, z - m)
        s = a.sum(e)
        return e / (s if sink is None else s + exponential(a, sink - m))

    return run


def reciprocal(a: Any, x: Any, scale: Any, softcap: Any, mask: Any, sink: Any) -> Any:
    """The same with one reciprocal a row."""
    z = _scores(a, x, scale, softcap, mask)
    m = _about(a, z, sink)
    e = base_2(a, z - m)
    s = a.sum(e)
    return e * (1 / (s if sink is None else s + base_2(a, sink - m)))


def exp_of_log(a: Any, x: Any, scale: Any, softcap: Any, mask: Any, sink: Any) -> Any:
    """exp((z - m) - log s)."""
    z = _scores(a, x, scale, softcap, mask)
    m = _about(a, z, sink)
    s = a.sum(a.exp(z - m))
    return a.exp((z - m) - a.log(s if sink is None else s + a.exp(sink - m)))


def whole(a: Any, x: Any, scale: Any, softcap: Any, mask: Any, sink: Any) -> Any:
    """Softmax as it is differentiated; the shifted form where there is a sink."""
    if sink is None:
        return a.softmax(_scores(a, x, scale, softcap, mask))
    return shifted(base_e)(a, x, scale, softcap, mask, sink)


OP = Op(
    name="attention_softmax",
    about="softmax(scale * x), capped by softcap, over the scores that mask keeps along an axis, sink in the denominator",
    inputs={"x": "row"},
    options={
        "scale": Option(1.0, "factor"),
        "softcap": Option(None, "cap", rare=True),
        "mask": Option(None, "mask"),
        "sink": Option(None, "logit"),
        **AXIS,
    },
    result="elements",
    formula=None,
    algorithms={
        "shifted": shifted(base_e),
        "exp2": shifted(base_2),
        "reciprocal": reciprocal,
        "exp of log": exp_of_log,
    },
    adjoints={"backward": whole},
)
