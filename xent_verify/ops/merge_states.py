"""merge_states: the attention over two parts of the keys from that over each: o = (e^la a + e^lb b) / (e^la + e^lb).

a, b [.., R, m] are the parts' results, la, lb [.., R] the logsumexps of their scores. The weights are the softmax of
[la, lb]. A part of no keys has -inf there and weight 0; its values are taken as numbers, so that 0 times NaN is NaN. Where
both parts are empty nothing is defined: NaN and 0 are conventions. The merged logsumexp is ``logaddexp`` of la and lb.
"""

from __future__ import annotations

from typing import Any

from xent_verify.ops.forms import base_2
from xent_verify.ops.op import Op

__all__ = ["OP"]


def shifted(a: Any, a_out: Any, a_lse: Any, b_out: Any, b_lse: Any) -> Any:
    """(ea a + eb b) / (ea + eb), about the larger logsumexp."""
    m = a.maximum(a_lse, b_lse)
    ea, eb = a.exp(a_lse - m), a.exp(b_lse - m)
    return (ea * a_out + eb * b_out) / (ea + eb)


def weighted(a: Any, a_out: Any, a_lse: Any, b_out: Any, b_lse: Any) -> Any:
    """The weights are divided first."""
    m = a.maximum(a_lse, b_lse)
    ea, eb = base_2(a, a_lse - m), base_2(a, b_lse - m)
    return a_out * (ea / (ea + eb)) + b_out * (eb / (ea + eb))


def by_sigmoid(a: Any, a_out: Any, a_lse: Any, b_out: Any, b_lse: Any) -> Any:
    """The weights are sigmoids of the difference."""
    d = a_lse - b_lse
    return a_out * a.sigmoid(d) + b_out * a.sigmoid(-d)


def through_logsumexp(a: Any, a_out: Any, a_lse: Any, b_out: Any, b_lse: Any) -> Any:
    """exp(la - l) a + exp(lb - l) b, l the merged logsumexp less the larger part."""
    m = a.maximum(a_lse, b_lse)
    log_sum = a.log(a.exp(a_lse - m) + a.exp(b_lse - m))
    return a_out * a.exp((a_lse - m) - log_sum) + b_out * a.exp((b_lse - m) - log_sum)


OP = Op(
    name="merge_states",
    about="two parts of an attention, a_out and b_out [.., m], weighted by their logsumexps a_lse and b_lse [..]",
    inputs={"a_out": "row", "a_lse": "row_number", "b_out": "row", "b_lse": "row_number"},
    options={},
    result="elements",
    formula=None,
    algorithms={
        "shifted": shifted,
        "weighted": weighted,
        "sigmoids": by_sigmoid,
        "through logsumexp": through_logsumexp,
    },
    adjoints={"backward": shifted},
)
