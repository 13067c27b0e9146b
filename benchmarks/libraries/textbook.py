"""True values by the textbook formulas in mpmath, at a precision that leaves no doubt; nothing of this package's truth.

float64 logits reach from 2**-1074 to 2**1024, so 2400 bits hold every sum and difference of them exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import mpmath
import numpy as np

__all__ = ["true_value"]

Formula = Callable[[Mapping[str, Any], Mapping[str, Any], tuple[int, ...]], Any]
"""Of inputs, options and the index of the element that is wanted."""

BITS = 2400
BITS_LONG = 400
LONG = 4096


def true_value(op: str, inputs: Mapping[str, Any], options: Mapping[str, Any], index: tuple[int, ...]) -> Any:
    """The true value of one element of the result."""
    x = next(iter(inputs.values()))
    with mpmath.workprec(BITS if x.size <= LONG else BITS_LONG):
        if op.startswith("vjp("):
            return _derivative(*_function_and_input(op), inputs, options, index)
        return FORMULAS[op](inputs, options, index)


def _function_and_input(op: str) -> tuple[str, str]:
    """The parts of ``vjp(OP)`` or ``vjp(OP, INPUT)``; "": the first input."""
    name, _, by = op.removeprefix("vjp(").removesuffix(")").partition(",")
    return name.strip(), by.strip()


def _derivative(op: str, by: str, inputs: Mapping[str, Any], options: Mapping[str, Any], index: tuple[int, ...]) -> Any:
    """The central difference of the sum of upstream times result, a quarter of the bits wide."""
    grad, held = inputs["grad"], {name: value for name, value in inputs.items() if name != "grad"}
    by = by or next(iter(held))
    given = held[by] if by in held else options[by]
    if not np.isfinite(float(given[index])):
        return mpmath.mpf(0)
    step = mpmath.mpf(2) ** -(mpmath.mp.prec // 4)

    def at(place: tuple[int, ...], sign: int) -> Any:
        moved = np.array(given, object)
        moved[index] = _number(given[index]) + sign * step
        parts = ({**held, by: moved}, options) if by in held else (held, {**options, by: moved})
        return FORMULAS[op](*parts, place)

    total = mpmath.mpf(0)
    for place in np.ndindex(np.shape(grad)):
        up, down = at(place, 1), at(place, -1)
        if up != down and not mpmath.isnan(up):
            total += _number(grad[place]) * (up - down) / (2 * step)
    return total


def _rows(inputs: Mapping[str, Any], options: Mapping[str, Any], index: tuple[int, ...]) -> list[list[Any]]:
    """The rows to which an element of a result without the axis belongs, one of each input."""
    axis = int(options.get("axis", -1))
    return [_numbers(np.moveaxis(one, axis, -1)[index]) for one in inputs.values()]


def _row_and_place(
    inputs: Mapping[str, Any], options: Mapping[str, Any], index: tuple[int, ...]
) -> tuple[list[Any], int]:
    """The row of the first input to which an element of a result of the same shape belongs, and its place there."""
    x = next(iter(inputs.values()))
    outer = list(index)
    place = outer.pop(int(options.get("axis", -1)) % x.ndim)
    return _rows({"x": x}, options, tuple(outer))[0], place


def _of_row(formula: Callable[..., Any]) -> Formula:
    """One value a row, of the rows of all inputs."""
    return lambda inputs, options, index: formula(*_rows(inputs, options, index))


def _of_element(formula: Callable[[list[Any], int], Any]) -> Formula:
    """One value an element of a row."""
    return lambda inputs, options, index: formula(*_row_and_place(inputs, options, index))


def _of_number(formula: Callable[..., Any]) -> Formula:
    """One value an element, of that element of all inputs."""

    def run(inputs: Mapping[str, Any], options: Mapping[str, Any], index: tuple[int, ...]) -> Any:  # noqa: ARG001
        shape = np.broadcast_shapes(*(value.shape for value in inputs.values()))
        return formula(*(_number(np.broadcast_to(value, shape)[index]) for value in inputs.values()))

    return run


def _of_two(a: Any, b: Any) -> Any:
    """log(exp(a) + exp(b))."""
    if not (mpmath.isfinite(a) and mpmath.isfinite(b)):
        return mpmath.nan if mpmath.isnan(a) or mpmath.isnan(b) else max(a, b)
    return max(a, b) + mpmath.log1p(mpmath.exp(-abs(a - b)))


def _number(value: Any) -> Any:
    """An exact number: one that is computed already as it is, a float of any format."""
    return value if isinstance(value, mpmath.mpf) else mpmath.mpf(float(value))


def _numbers(row: Any) -> list[Any]:
    """Exact numbers."""
    return [_number(value) for value in row]


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


def _logsumexp(row: Sequence[Any]) -> Any:
    if any(mpmath.isnan(v) for v in row):
        return mpmath.nan
    if mpmath.inf in row or all(v == -mpmath.inf for v in row):
        return max(row, default=-mpmath.inf)
    top, total = _row_terms(row)
    return top + mpmath.log(total)


def _products(hidden: Any, weight: Any, bias: Any) -> list[list[Any]]:
    """The logits of a linear layer."""
    shift = [mpmath.mpf(0)] * len(weight) if bias is None else _numbers(np.broadcast_to(bias, len(weight)))
    return [
        [mpmath.fdot(_numbers(row), _numbers(one)) + b for one, b in zip(weight, shift, strict=True)] for row in hidden
    ]


def _of_token(inputs: Mapping[str, Any], options: Mapping[str, Any], index: tuple[int, ...]) -> Any:
    """log p of a label at a temperature."""
    row, label = (one[index] for one in inputs.values())
    if int(label) == options.get("ignore_index", -100):
        return mpmath.mpf(0)
    temperature = mpmath.mpf(float(options.get("temperature", 1.0)))
    return _log_p([value / temperature for value in _numbers(row)], int(label))


def _weighed(weights: Sequence[Any], values: Sequence[Any]) -> Any:
    """Sum of products; a weight of 0 adds nothing."""
    return mpmath.fsum(a * b for a, b in zip(weights, values, strict=True) if a != 0)


def _shares(row: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """p and log p of a row."""
    return [_p(row, i) for i in range(len(row))], [_log_p(row, i) for i in range(len(row))]


def _entropy(row: Sequence[Any]) -> Any:
    return -_weighed(*_shares(row))


def _kl(first: Sequence[Any], second: Sequence[Any]) -> Any:
    (p, log_p), (_, log_q) = _shares(first), _shares(second)
    return _weighed(p, [a - b for a, b in zip(log_p, log_q, strict=True)])


def _js(first: Sequence[Any], second: Sequence[Any]) -> Any:
    (p, log_p), (q, log_q) = _shares(first), _shares(second)
    mixed = [mpmath.log((a + b) / 2) if a + b else -mpmath.inf for a, b in zip(p, q, strict=True)]
    return _weighed(p + q, [a - b for a, b in zip(log_p + log_q, mixed + mixed, strict=True)]) / 2


def _kl_log(inputs: Mapping[str, Any], options: Mapping[str, Any], index: tuple[int, ...]) -> Any:
    """The divergence of given logarithms."""
    own, other = _rows(inputs, options, index)[:: -1 if options.get("reverse") else 1]
    weights = [mpmath.exp(value) for value in own]
    return _weighed(weights, [a - b for a, b in zip(own, other, strict=True)])


def _projected(power: int) -> Formula:
    """max(x / power - t, 0)**power with sum 1: sparsemax (1), entmax of alpha 1.5 (2)."""

    def run(row: list[Any], place: int) -> Any:
        top, _ = _row_terms(row)
        if mpmath.isnan(top):
            return mpmath.nan
        halves = [(value - top) / power for value in row]
        total = squares = mpmath.mpf(0)
        threshold = -mpmath.inf
        for count, value in enumerate(sorted((v for v in halves if v > -2), reverse=True), 1):
            if value <= threshold:
                break
            total, squares = total + value, squares + value**2
            left = 1 - (squares - total**2 / count)
            threshold = (total - 1) / count if power == 1 else total / count - mpmath.sqrt(left / count)
        return max(halves[place] - threshold, 0) ** power

    return _of_element(run)


def _chosen(inputs: Mapping[str, Any], options: Mapping[str, Any], index: tuple[int, ...]) -> Any:
    """One of the k largest weights of a row, in falling order."""
    weights, _ = _shares(_numbers(inputs["x"][index[:-1]]))
    top = sorted(weights, reverse=True)[: int(options.get("k", 2))]
    return top[index[-1]] / (mpmath.fsum(top) if options.get("renormalise") else 1)


def _gumbel(u: Any) -> Any:
    """-log(-log u); nothing outside [0, 1]."""
    if u in (0, 1):
        return mpmath.inf if u else -mpmath.inf
    return -mpmath.log(-mpmath.log(u)) if 0 < u < 1 else mpmath.nan


def _scores(row: Sequence[Any], options: Mapping[str, Any], kept: Sequence[Any], bias: Sequence[Any]) -> list[Any]:
    """Scaled, capped, biased, masked."""
    scale = mpmath.mpf(float(options.get("scale", 1.0)))
    scaled = _capped([scale * value for value in row], options)
    return [value + b if keep else -mpmath.inf for value, b, keep in zip(scaled, bias, kept, strict=True)]


def _capped(row: Sequence[Any], options: Mapping[str, Any]) -> list[Any]:
    """cap tanh(x / cap) of each, where there is a cap."""
    if options.get("softcap") is None:
        return list(row)
    cap = mpmath.mpf(float(options["softcap"]))
    return [cap * mpmath.tanh(value / cap) for value in row]


def _attention_softmax(inputs: Mapping[str, Any], options: Mapping[str, Any], index: tuple[int, ...]) -> Any:
    """A sink is one more score, and no result."""
    row, place = _row_and_place(inputs, options, index)
    kept = _row_and_place({"mask": _of_shape(options.get("mask"), inputs["x"].shape, 1)}, options, index)[0]
    scores = _scores(row, options, kept, [mpmath.mpf(0)] * len(row))
    if options.get("sink") is not None:
        scores.append(mpmath.mpf(float(options["sink"])))
    return _p(scores, place)


def _of_shape(given: Any, shape: Sequence[int], default: float) -> Any:
    return np.broadcast_to(np.asarray(default) if given is None else given, shape)


def _attended(inputs: Mapping[str, Any], options: Mapping[str, Any], at: tuple[int, ...]) -> list[Any]:
    """The scores of one query, by all keys."""
    q, k = inputs["q"], inputs["k"]
    shape = (*q.shape[:-1], k.shape[-2])
    kept, bias = (_of_shape(options.get(name), shape, one)[at] for name, one in (("mask", 1), ("bias", 0)))
    if options.get("causal"):
        kept = kept & (np.arange(shape[-1]) <= at[-1] + shape[-1] - shape[-2])
    products = [mpmath.fdot(_numbers(q[at]), _numbers(key)) for key in k[at[:-1]]]
    return _scores(products, options, kept, _numbers(bias))


def _attention(inputs: Mapping[str, Any], options: Mapping[str, Any], index: tuple[int, ...]) -> Any:
    weights, _ = _shares(_attended(inputs, options, index[:-1]))
    return _weighed(weights, _numbers(inputs["v"][index[:-2]][:, index[-1]]))


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


def _loss(
    x: Any, target: Any, options: Mapping[str, Any], index: tuple[int, ...], log_p: Callable[..., Any] = _log_p
) -> Any:
    reduction = options.get("reduction", "mean")
    rows = [index[0]] if reduction == "none" else range(len(x))
    losses, divisor = [], mpmath.mpf(0)
    penalty = mpmath.mpf(float(options.get("lse_square_scale", 0.0)))
    for r in rows:
        row = _capped(_numbers(x[r]), options)
        used = [(c, a) for c, a in enumerate(_coefficients(target[r], len(row), options)) if a != 0]
        losses.append(mpmath.fsum(-a * log_p(row, c) for c, a in used) if used else mpmath.mpf(0))
        losses[-1] += penalty * _logsumexp(row) ** 2 if used and penalty else 0
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


def _reduced(
    single: Callable[..., Any], inputs: Mapping[str, Any], options: Mapping[str, Any], index: tuple[int, ...]
) -> Any:
    """Losses of a logit and a target each, single or added up."""
    x, y = inputs.values()
    y = np.broadcast_to(y, x.shape)

    def at(place: tuple[int, ...]) -> Any:
        given = {
            name: mpmath.mpf(float(np.broadcast_to(value, x.shape)[place]))
            for name, value in options.items()
            if value is not None and name != "reduction"
        }
        return single(_number(x[place]), _number(y[place]), **given)

    reduction = options.get("reduction", "mean")
    if reduction == "none":
        return at(index)
    total = mpmath.fsum(at(place) for place in np.ndindex(x.shape))
    return total / x.size if reduction == "mean" else total


def _binary(z: Any, t: Any, weight: Any = 1, pos_weight: Any = 1) -> Any:
    return weight * _weighed([pos_weight * t, 1 - t], [_softplus(-z), _softplus(z)])


def _focal(z: Any, t: Any, gamma: Any = 2, alpha: Any = None) -> Any:
    wrong = _weighed([t, 1 - t], [_sigmoid(-z), _sigmoid(z)])
    loss = _weighed([wrong**gamma], [_binary(z, t)])
    return loss if alpha is None else _weighed([alpha * t + (1 - alpha) * (1 - t)], [loss])


def _sigmoid(z: Any) -> Any:
    return 1 / (1 + mpmath.exp(-z))


FORMULAS: Mapping[str, Formula] = {
    "softmax": _of_element(_p),
    "log_softmax": _of_element(_log_p),
    "logsumexp": _of_row(_logsumexp),
    "logmeanexp": _of_row(lambda row: _logsumexp(row) - mpmath.log(len(row))),
    "z_loss": _of_row(lambda row: _logsumexp(row) ** 2),
    "entropy": _of_row(_entropy),
    "kl_divergence": _of_row(_kl),
    "js_divergence": _of_row(_js),
    "kl_divergence_log": _kl_log,
    "sparsemax": _projected(1),
    "entmax15": _projected(2),
    "cross_entropy": lambda inputs, *rest: _loss(inputs["logits"], inputs["target"], *rest),
    "nll": lambda inputs, *rest: _loss(*inputs.values(), *rest, log_p=lambda row, c: row[c]),
    "cross_entropy_grad": lambda inputs, *rest: _slope(inputs["logits"], inputs["target"], *rest),
    "linear_cross_entropy": lambda inputs, options, index: _loss(
        _products(inputs["hidden"], inputs["weight"], options.get("bias")), inputs["target"], options, index
    ),
    "token_logprob": _of_token,
    "topk_softmax": _chosen,
    "attention": _attention,
    "attention_lse": lambda *call: _logsumexp(_attended(*call)),
    "attention_softmax": _attention_softmax,
    "binary_cross_entropy_with_logits": lambda *call: _reduced(_binary, *call),
    "focal": lambda *call: _reduced(_focal, *call),
    "logaddexp": _of_number(_of_two),
    "gumbel": _of_number(_gumbel),
    "sigmoid": _of_number(_sigmoid),
    "softplus": _of_number(_softplus),
    "log_sigmoid": _of_number(lambda z: -_softplus(-z)),
}
