"""True values by the textbook formulas in mpmath, at a precision that leaves no doubt; nothing of this package's truth.

float64 logits reach from 2**-1074 to 2**1024, so 2400 bits hold every sum and difference of them exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import mpmath
import numpy as np

__all__ = ["true_value"]

BITS = 2400
BITS_LONG = 400
LONG = 4096


def true_value(op: str, inputs: Mapping[str, Any], options: Mapping[str, Any], index: tuple[int, ...]) -> Any:
    """The true value of one element of the result."""
    x = next(iter(inputs.values()))
    with mpmath.workprec(BITS if x.size <= LONG else BITS_LONG):
        if op in ("softmax", "log_softmax", "logsumexp"):
            return _of_row(op, x, int(options.get("axis", -1)) % x.ndim, index)
        if op in ("cross_entropy", "cross_entropy_grad"):
            return (_loss if op == "cross_entropy" else _slope)(x, inputs["target"], options, index)
        if op == "linear_cross_entropy":
            return _loss(_products(x, inputs["weight"], options.get("bias")), inputs["target"], options, index)
        if op == "token_logprob":
            return _of_token(x[index], inputs["target"][index], options)
        if op in ("entropy", "kl_divergence", "js_divergence"):
            axis = int(options.get("axis", -1))
            return _of_shares(op, *(_numbers(np.moveaxis(one, axis, -1)[index]) for one in inputs.values()))
        flat = [np.broadcast_to(value, x.shape) for value in inputs.values()]
        if op == "binary_cross_entropy_with_logits":
            return _binary(flat, options, index)
        z = mpmath.mpf(float(flat[0][index]))
        if op == "logaddexp":
            return _of_two(z, mpmath.mpf(float(flat[1][index])))
        if op == "softplus":
            return _softplus(z)
        if op not in ("sigmoid", "log_sigmoid"):
            raise ValueError(f"no formula for {op}")
        return 1 / (1 + mpmath.exp(-z)) if op == "sigmoid" else -_softplus(-z)


def _of_two(a: Any, b: Any) -> Any:
    """log(exp(a) + exp(b))."""
    if not (mpmath.isfinite(a) and mpmath.isfinite(b)):
        return mpmath.nan if mpmath.isnan(a) or mpmath.isnan(b) else max(a, b)
    return max(a, b) + mpmath.log1p(mpmath.exp(-abs(a - b)))


def _numbers(row: Any) -> list[Any]:
    return [mpmath.mpf(float(value)) for value in row]


def _row_terms(row: Sequence[Any]) -> tuple[Any, Any]:
    """(max, sum of exp(x - max)); NaN where there is no softmax."""
    if any(mpmath.isnan(v) for v in row) or mpmath.inf in row or all(v == -mpmath.inf for v in row):
        return mpmath.nan, mpmath.nan
    top = max(row)
    return top, mpmath.fsum(mpmath.mpf(0) if v == -mpmath.inf else mpmath.exp(v - top) for v in row)


def _log_p(row: Sequence[Any], place: int) -> Any:
    top, total = _row_terms(row)
    if mpmath.isnan(total):
        return mpmath.nan
    if row[place] == top:  # log(1 + rest) keeps what log(total) would lose
        rest = [mpmath.exp(v - top) for i, v in enumerate(row) if i != place and v != -mpmath.inf]
        return -mpmath.log1p(mpmath.fsum(rest))
    return row[place] - top - mpmath.log(total)


def _p(row: Sequence[Any], place: int) -> Any:
    top, total = _row_terms(row)
    if mpmath.isnan(total):
        return mpmath.nan
    return mpmath.mpf(0) if row[place] == -mpmath.inf else mpmath.exp(row[place] - top) / total


def _of_row(op: str, x: Any, axis: int, index: tuple[int, ...]) -> Any:
    outer = list(index)
    place = outer.pop(axis) if op != "logsumexp" else 0
    row = _numbers(np.moveaxis(x, axis, -1)[tuple(outer)])
    if op == "softmax":
        return _p(row, place)
    if op == "log_softmax":
        return _log_p(row, place)
    if any(mpmath.isnan(v) for v in row):
        return mpmath.nan
    if mpmath.inf in row or all(v == -mpmath.inf for v in row):
        return max(row, default=-mpmath.inf)
    top, total = _row_terms(row)
    return top + mpmath.log(total)


def _products(hidden: Any, weight: Any, bias: Any) -> list[list[Any]]:
    """The logits of a linear layer, exact."""
    shift = [mpmath.mpf(0)] * len(weight) if bias is None else _numbers(np.broadcast_to(bias, len(weight)))
    return [
        [mpmath.fdot(_numbers(row), _numbers(one)) + b for one, b in zip(weight, shift, strict=True)] for row in hidden
    ]


def _of_token(row: Any, label: Any, options: Mapping[str, Any]) -> Any:
    """log p of a label at a temperature."""
    if int(label) == options.get("ignore_index", -100):
        return mpmath.mpf(0)
    temperature = mpmath.mpf(float(options.get("temperature", 1.0)))
    return _log_p([value / temperature for value in _numbers(row)], int(label))


def _of_shares(op: str, first: Sequence[Any], second: Sequence[Any] = ()) -> Any:
    """Entropy of the softmax of a row; the divergence of two. A term of weight 0 is 0."""
    places = range(len(first))
    p, q = ([_p(row, i) for i in places] for row in (first, second or first))
    log_p = [_log_p(first, i) for i in places]
    if op == "entropy":
        return -mpmath.fsum(a * b for a, b in zip(p, log_p, strict=True) if a != 0)
    if op == "kl_divergence":
        return mpmath.fsum(a * (log_p[i] - _log_p(second, i)) for i, a in enumerate(p) if a != 0)
    mixed = [mpmath.log((a + b) / 2) if a + b else -mpmath.inf for a, b in zip(p, q, strict=True)]
    halves = [(a, log_p[i] - mixed[i]) for i, a in enumerate(p) if a != 0]
    halves += [(b, _log_p(second, i) - mixed[i]) for i, b in enumerate(q) if b != 0]
    return mpmath.fsum(a * b for a, b in halves) / 2


def _coefficients(target: Any, classes: int, options: Mapping[str, Any]) -> list[Any]:
    """How much of -log p_c each class adds to the loss of one row."""
    weight = _numbers(options["weight"]) if options.get("weight") is not None else [mpmath.mpf(1)] * classes
    smoothing = mpmath.mpf(float(options.get("label_smoothing", 0.0)))
    if np.ndim(target):
        shares = _numbers(target)
    elif int(target) == options.get("ignore_index", -100):
        return [mpmath.mpf(0)] * classes
    else:
        shares = [mpmath.mpf(int(c == int(target))) for c in range(classes)]
    return [w * (y * (1 - smoothing) + smoothing / classes) for w, y in zip(weight, shares, strict=True)]


def _loss(x: Any, target: Any, options: Mapping[str, Any], index: tuple[int, ...]) -> Any:
    reduction = options.get("reduction", "mean")
    rows = [index[0]] if reduction == "none" else range(len(x))
    losses, divisor = [], mpmath.mpf(0)
    for r in rows:
        row = _numbers(x[r])
        used = [(c, a) for c, a in enumerate(_coefficients(target[r], len(row), options)) if a != 0]
        losses.append(mpmath.fsum(-a * _log_p(row, c) for c, a in used) if used else mpmath.mpf(0))
        if np.ndim(target[r]):
            divisor += 1
        elif int(target[r]) != options.get("ignore_index", -100):
            weight = options.get("weight")
            divisor += 1 if weight is None else mpmath.mpf(float(weight[int(target[r])]))
    total = mpmath.fsum(losses)
    if reduction != "mean":
        return total
    return total / divisor if divisor else mpmath.nan


def _slope(x: Any, target: Any, options: Mapping[str, Any], index: tuple[int, ...]) -> Any:  # noqa: ARG001
    row, place = _numbers(x[index[0]]), index[1]
    own = target[index[0]]
    if np.ndim(own):
        shares = _numbers(own)
        return _p(row, place) * mpmath.fsum(shares) - shares[place]
    if int(own) != place:
        return _p(row, place)
    top, total = _row_terms(row)
    if mpmath.isnan(total):
        return mpmath.nan
    rest = (mpmath.exp(v - top) for i, v in enumerate(row) if i != place and v != -mpmath.inf)
    return -mpmath.fsum(rest) / total


def _softplus(z: Any) -> Any:
    """log(1 + exp(z)) = max(z, 0) + log1p(exp(-|z|))."""
    if not mpmath.isfinite(z):
        return mpmath.mpf(0) if z == -mpmath.inf else z
    return max(z, mpmath.mpf(0)) + mpmath.log1p(mpmath.exp(-abs(z)))


def _binary(flat: Sequence[Any], options: Mapping[str, Any], index: tuple[int, ...]) -> Any:
    x, y = flat
    shape = x.shape

    def wide(name: str) -> Any:
        return np.broadcast_to(np.ones(()) if options.get(name) is None else options[name], shape)

    def single(place: tuple[int, ...]) -> Any:
        z, t = mpmath.mpf(float(x[place])), mpmath.mpf(float(y[place]))
        parts = [(wide("pos_weight")[place] * t, _softplus(-z)), (1 - t, _softplus(z))]
        total = mpmath.fsum(mpmath.mpf(a) * part for a, part in parts if a != 0)
        return mpmath.mpf(float(wide("weight")[place])) * total

    reduction = options.get("reduction", "mean")
    if reduction == "none":
        return single(index)
    total = mpmath.fsum(single(place) for place in np.ndindex(shape))
    return total / x.size if reduction == "mean" else total
