"""The sound ways to compute softmax, log-softmax and logsumexp of rows, over an abstract arithmetic ``a``.

Each is written once; ``ops.errors`` reads its limit from it. ``exp2`` folds log2 e into the argument, as Triton,
FlashAttention, oneDNN and hardware with a base-2 exponential do. Source of the shifted forms and of the method: Blanchard,
Higham & Higham, *Accurately computing the log-sum-exp and softmax functions*, IMA J. Numer. Anal. 41 (2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

__all__ = [
    "LN_2",
    "LOG2_E",
    "LOGSUMEXP",
    "LOG_SOFTMAX",
    "SOFTMAX",
    "Form",
    "base_2",
    "base_e",
    "capped",
    "direct_softplus",
    "logaddexp",
    "sigmoid",
    "softplus",
]

Form = Callable[[Any, Any], Any]
LOG2_E, LN_2 = math.log2(math.e), math.log(2.0)


def base_e(a: Any, x: Any) -> Any:
    """exp(x)."""
    return a.exp(x)


def base_2(a: Any, x: Any) -> Any:
    """exp(x) as 2**(x log2 e)."""
    return a.exp2(x * a.constant(LOG2_E))


def capped(a: Any, x: Any, cap: Any) -> Any:
    """cap tanh(x / cap), which lies between -cap and cap ("softcap"); x where there is no cap."""
    return x if cap is None else a.tanh(x / cap) * cap


def shifted_softmax(a: Any, x: Any) -> Any:
    """exp(x - m) / sum exp(x - m), m = max x."""
    e = base_e(a, x - a.max(x))
    return e / a.sum(e)


def exp2_softmax(a: Any, x: Any) -> Any:
    """The same with a base-2 exponential."""
    e = base_2(a, x - a.max(x))
    return e / a.sum(e)


def reciprocal_softmax(a: Any, x: Any) -> Any:
    """The same with one reciprocal a row."""
    e = base_2(a, x - a.max(x))
    return e * (1 / a.sum(e))


def exp_of_log_softmax(a: Any, x: Any) -> Any:
    """exp((x - m) - log sum exp(x - m)): no division."""
    return a.exp(shifted_log_softmax(a, x))


def shifted_log_softmax(a: Any, x: Any) -> Any:
    """(x - m) - log sum exp(x - m)."""
    d = x - a.max(x)
    return d - a.log(a.sum(a.exp(d)))


def exp2_log_softmax(a: Any, x: Any) -> Any:
    """The same in base 2, scaled at the end."""
    d = (x - a.max(x)) * a.constant(LOG2_E)
    return (d - a.log2(a.sum(a.exp2(d)))) * a.constant(LN_2)


def shifted_logsumexp(a: Any, x: Any) -> Any:
    """m + log sum exp(x - m)."""
    m = a.max(x)
    return m + a.log(a.sum(a.exp(x - m)))


def exp2_logsumexp(a: Any, x: Any) -> Any:
    """The same with a base-2 exponential and logarithm."""
    m = a.max(x)
    return m + a.log2(a.sum(base_2(a, x - m))) * a.constant(LN_2)


def softplus(a: Any, x: Any, exponential: Form = base_e) -> Any:
    """log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|)): two terms of one sign."""
    return a.maximum(x, 0) + a.log1p(exponential(a, -a.abs(x)))


def direct_softplus(a: Any, x: Any) -> Any:
    """log1p(exp(x)) where x is small enough that exp does not overflow."""
    large = a.at_least(x, a.large)
    return a.where(large, a.softplus(x), a.log1p(a.exp(a.where(large, 0, x))))


def logaddexp(a: Any, x: Any, y: Any, exponential: Form = base_e) -> Any:
    """log(exp(x) + exp(y)) = max(x, y) + log1p(exp(-|x - y|))."""
    return a.maximum(x, y) + a.log1p(exponential(a, -a.abs(x - y)))


def sigmoid(a: Any, x: Any, exponential: Form = base_e) -> Any:
    """1 / (1 + e) or e / (1 + e), e = exp(-|x|)."""
    e = exponential(a, -a.abs(x))
    return a.where(a.at_least(x, 0), 1 / (1 + e), e / (1 + e))


SOFTMAX: Mapping[str, Form] = {
    "shifted": shifted_softmax,
    "exp2": exp2_softmax,
    "reciprocal": reciprocal_softmax,
    "exp of log": exp_of_log_softmax,
}
LOG_SOFTMAX: Mapping[str, Form] = {"shifted": shifted_log_softmax, "exp2": exp2_log_softmax}
LOGSUMEXP: Mapping[str, Form] = {"shifted": shifted_logsumexp, "exp2": exp2_logsumexp}
