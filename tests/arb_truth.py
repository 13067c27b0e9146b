"""An independent oracle: true values as Arb balls (python-flint), and a check that enclosures hold them.

Written from the textbook formulas over whole rows; it shares nothing with ``xent_verify.truth`` but the inputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from flint import arb, ctx
from mpmath import libmp

from xent_verify.core.enclosure import Enclosure
from xent_verify.core.formats import FORMATS, FloatFormat
from xent_verify.core.model import Batch
from xent_verify.ops import OPS
from xent_verify.truth.intervals import BigArithmetic, Interval

PRECISIONS = (160, 1600, 20000)
ZERO, ONE = arb(0), arb(1)


@dataclass(frozen=True)
class Row:
    """Terms of one row without its first maximum, so that log S and 1 - p keep their relative accuracy."""

    x: list[arb | None]  # None: -inf
    top: int
    terms: list[arb]  # exp(x - m)
    others: arb  # sum of the terms but the top one
    log: arb

    def log_p(self, i: int) -> arb:
        return (
            ZERO if i == self.top else self.x[i] - self.x[self.top]
        ) - self.log  # x / T is a ball: it does not cancel

    def p(self, i: int) -> arb:
        return self.terms[i] / (1 + self.others)

    def lse(self) -> arb:
        return self.x[self.top] + self.log


def row_of(values: Sequence[float], temperature: float = 1.0) -> Row:
    """A row with at least one finite logit and no NaN or +inf."""
    x = [None if v == -np.inf else arb(v) / temperature for v in values]
    order = [(-np.inf if t is None else v / np.sign(temperature)) for t, v in zip(x, values, strict=True)]
    return _row_about(x, int(np.argmax(order)))


def row_of_balls(x: Sequence[arb | None]) -> Row:
    """A row of numbers that are balls (None: -inf)."""
    top = next(i for i, t in enumerate(x) if t is not None)
    for i, t in enumerate(x):
        if t is not None and t.mid() > x[top].mid():
            top = i
    return _row_about(list(x), top)


def _row_about(x: list[arb | None], top: int) -> Row:
    terms = [ZERO if t is None else (t - x[top]).exp() for t in x]
    others = sum((t for i, t in enumerate(terms) if i != top), ZERO)
    return Row(x, top, terms, others, others.log1p())


def _loss(row: Row, coefficients: Sequence[arb]) -> arb:
    return -sum((a * row.log_p(i) for i, a in enumerate(coefficients) if a != 0), ZERO)


def _row_loss(x: list[float], target: Any, options: Mapping[str, Any]) -> arb:
    if options.get("softcap") is not None or options.get("lse_square_scale"):
        return _penalized([None if t == -np.inf else arb(t) for t in x], target, options)
    return _loss(row_of(x), _coefficients(target, len(x), options))


def _penalized(z: list[arb | None], target: Any, options: Mapping[str, Any]) -> arb:
    """The loss of capped logits (None: -inf), and a multiple of the square of their logsumexp."""
    cap = options.get("softcap")
    if not np.ndim(target) and int(target) == int(options.get("ignore_index", -100)):
        return ZERO
    if cap is not None:
        z = [-arb(cap) if t is None else arb(cap) * (t / arb(cap)).tanh() for t in z]
    row = row_of_balls(z)
    penalty = arb(float(options.get("lse_square_scale", 0.0))) * row.lse() ** 2
    return _loss(row, _coefficients(target, len(z), options)) + penalty


def _gradient(row: Row, y: Sequence[float]) -> list[arb]:
    """p Y - y, at the top as (Y - y) - (1 - p) Y."""
    total = sum((arb(v) for v in y), ZERO)
    out = []
    for i, v in enumerate(y):
        if i == row.top:
            rest = sum((arb(w) for j, w in enumerate(y) if j != i), ZERO)
            out.append(rest - total * row.others / (1 + row.others))
        else:
            out.append(row.p(i) * total - arb(v))
    return out


def elements(batch: Batch, wanted: np.ndarray) -> Iterator[tuple[int, arb]]:
    """(flat output position, ball) for rows of 2-D batches in which some element is wanted (flat mask)."""
    values = [np.asarray(v) for v in batch.inputs.values()]
    x = values[0].astype(np.float64)
    n = x.shape[1]
    per_row = OPS[batch.op].result != "elements" and OPS[batch.op].by_row
    n = OPS[batch.op].result_width(batch) if not per_row and OPS[batch.op].by_row else n
    for r in range(x.shape[0]):
        chosen = [r] if per_row else [r * n + i for i in range(n)]
        if not wanted[chosen].any():
            continue
        for flat, ball in zip(chosen, _answers(batch, values, x[r].tolist(), r), strict=True):
            if wanted[flat]:
                yield flat, ball


def _answers(batch: Batch, values: list[np.ndarray], x: list[float], r: int) -> list[arb]:
    n, options = len(x), batch.options
    match batch.op:
        case "softmax" | "softmax_temperature":
            row = row_of(x, float(options.get("temperature", 1.0)))
            return [row.p(i) for i in range(n)]
        case "log_softmax":
            row = row_of(x)
            return [ZERO if row.x[i] is None else row.log_p(i) for i in range(n)]
        case "logsumexp":
            return [row_of(x).lse()]
        case "sigmoid":
            return [1 / (1 + (-arb(v)).exp()) for v in x]
        case "log_sigmoid":
            return [row_of([v, 0.0]).log_p(0) if np.isfinite(v) else ZERO for v in x]
        case "binary_cross_entropy_with_logits":
            y = values[1].astype(np.float64)[r]
            w, q = (
                np.broadcast_to(options.get(name, 1.0), values[0].shape)[r].tolist()
                for name in ("weight", "pos_weight")
            )
            quads = zip(x, y.tolist(), w, q, strict=True)
            return [
                arb(u) * _loss(row_of([v, 0.0]), [arb(c) * arb(t), 1 - arb(t)]) if np.isfinite(v) else ZERO
                for v, t, u, c in quads
            ]
        case "kl_divergence":
            p, q = row_of(x), row_of(values[1].astype(np.float64)[r].tolist())
            return [sum((p.p(i) * (p.log_p(i) - q.log_p(i)) for i in range(n) if p.x[i] is not None), ZERO)]
        case "cross_entropy":
            return [_row_loss(x, values[1][r], options)]
        case "cross_entropy_grad":
            target = values[1][r]
            y = target.astype(np.float64) if np.ndim(target) else np.eye(n)[int(target)]
            return _gradient(row_of(x), y.tolist())
    return _relatives(batch, values, x, r)


def _relatives(batch: Batch, values: list[np.ndarray], x: list[float], r: int) -> list[arb]:
    n, options = len(x), batch.options
    match batch.op:
        case "entropy":
            row = row_of(x)
            return [-sum((row.p(i) * row.log_p(i) for i in range(n) if row.x[i] is not None), ZERO)]
        case "token_logprob":
            if int(values[1][r]) == int(options.get("ignore_index", -100)):
                return [ZERO]
            return [row_of(x, float(options.get("temperature", 1.0))).log_p(int(values[1][r]))]
        case "softplus":
            return [row_of([v, 0.0]).lse() if np.isfinite(v) else ZERO for v in x]
        case "logaddexp":
            pairs = zip(x, values[1].astype(np.float64)[r].tolist(), strict=True)
            return [row_of([v, w]).lse() if max(v, w) > -np.inf else ZERO for v, w in pairs]
        case "logmeanexp":
            return [row_of(x).lse() - arb(n).log()]
        case "z_loss":
            return [row_of(x).lse() ** 2]
        case "attention_softmax":
            return _attention(batch, x, r)
        case "softmax_one":
            row = row_of([*x, 0.0])
            return [row.p(i) for i in range(n)]
    return _of_products(batch, values, x, r)


def _of_products(batch: Batch, values: list[np.ndarray], x: list[float], r: int) -> list[arb]:
    options = batch.options
    match batch.op:
        case "attention":
            row, v = row_of_balls(_scores(batch, values[1], x, r)), values[2].astype(np.float64)
            return [
                sum((row.p(j) * arb(v[j, i]) for j in range(len(v)) if row.x[j] is not None), ZERO)
                for i in range(v.shape[1])
            ]
        case "attention_lse":
            z = _scores(batch, values[1], x, r)
            return [row_of_balls(z).lse() if any(t is not None for t in z) else ZERO]
        case "merge_states":
            la, b, lb = (value.astype(np.float64)[r] for value in values[1:])
            row = row_of([float(la), float(lb)])
            return [row.p(0) * arb(one) + row.p(1) * arb(other) for one, other in zip(x, b.tolist(), strict=True)]
        case "topk_softmax":
            row, k = row_of(x), int(options.get("k", 2))
            order = np.argsort(-np.array(x), kind="stable")[:k]
            total = sum((row.p(int(i)) for i in order), ZERO) if options.get("renormalise") else ONE
            return [row.p(int(i)) / total for i in order]
        case "js_divergence":
            p, q = row_of(x), row_of(values[1].astype(np.float64)[r].tolist())
            return [_half(p, q) + _half(q, p)]
        case "nll":
            weight, t = options.get("weight"), int(values[1][r])
            return [-(ONE if weight is None else arb(float(weight[t]))) * arb(x[t]) if np.isfinite(x[t]) else ZERO]
        case "linear_cross_entropy":
            bias = options.get("bias")
            added = np.zeros(len(values[1])) if bias is None else bias.astype(np.float64)
            z = [None if b == -np.inf else t + arb(b) for t, b in zip(_products(values[1], x), added, strict=True)]
            return [_penalized(z, int(values[2][r]), options)]
    return _of_losses(batch, values, x, r)


def _of_losses(batch: Batch, values: list[np.ndarray], x: list[float], r: int) -> list[arb]:
    options = batch.options
    match batch.op:
        case "kl_divergence_log":
            p, q = x, values[1].astype(np.float64)[r].tolist()
            pairs = zip(q, p, strict=True) if options.get("reverse") else zip(p, q, strict=True)
            return [_divergence(list(pairs))]
        case "gumbel":
            return [-(-arb(v).log()).log() if 0 < v < 1 else ZERO for v in x]
        case "sparsemax" | "entmax15":
            return _thresholded(x, 1 if batch.op == "sparsemax" else 2)
        case "focal":
            return [_focal(v, float(y), options) for v, y in zip(x, values[1].astype(np.float64)[r], strict=True)]
    raise AssertionError(batch.op)


def _half(p: Row, q: Row) -> arb:
    """KL(p || (p + q) / 2) / 2."""
    pairs = [(p.p(i), q.p(i)) for i in range(len(p.x)) if p.x[i] is not None]
    return sum((a * (2 * a / (a + b)).log() for a, b in pairs), ZERO) / 2


def _divergence(pairs: list[tuple[float, float]]) -> arb:
    """sum of exp(u) (u - v) over finite u; not asked for where that is infinite."""
    live = [(u, v) for u, v in pairs if u > -np.inf]
    if not np.isfinite(live).all():
        return ZERO
    return sum((arb(u).exp() * (arb(u) - arb(v)) for u, v in live), ZERO)


def _focal(x: float, y: float, options: Any) -> arb:
    """Of a finite logit; a negative chance of being wrong has no power."""
    if not np.isfinite(x) or not 0 <= y <= 1:
        return ZERO
    row, t, alpha = row_of([x, 0.0]), arb(y), options.get("alpha")
    wrong = row.p(1) * t + row.p(0) * (1 - t)
    loss = -(t * row.log_p(0) + (1 - t) * row.log_p(1)) * (arb(float(options.get("gamma", 2.0))) * wrong.log()).exp()
    return loss if alpha is None else (arb(alpha) * t + (1 - arb(alpha)) * (1 - t)) * loss


def _thresholded(x: list[float], power: int) -> list[arb]:
    """max(x / power - t, 0)**power: for k = 1, 2, … the threshold of the k largest, until it is not below the next."""
    exact = [None if v == -np.inf else Fraction(v) / power for v in x]
    falling = sorted((v for v in exact if v is not None), reverse=True)
    kept = [v for v in falling if sum((w - v) ** power for w in falling if w > v) < 1]
    mean = sum(kept) / len(kept)
    rest = 1 - sum((v - mean) ** 2 for v in kept)

    def ball(number: Fraction) -> arb:
        return arb(number.numerator) / number.denominator

    over = ONE / len(kept) if power == 1 else (ball(rest) / len(kept)).sqrt()
    return [(ball(v - mean) + over) ** power if v is not None and v in kept else ZERO for v in exact]


def _products(matrix: np.ndarray, x: list[float]) -> list[arb]:
    """x . m_j for each vector."""
    rows = matrix.astype(np.float64).tolist()
    return [sum((arb(u) * arb(w) for u, w in zip(x, row, strict=True)), ZERO) for row in rows]


def _scores(batch: Batch, matrix: np.ndarray, x: list[float], r: int) -> list[arb | None]:
    """scale (q . k) + bias; None where a key is taken away."""
    rows, keys = len(batch.x), len(matrix)
    options, scale = batch.options, arb(float(batch.options.get("scale", 1.0)))
    mask, bias, cap = options.get("mask"), options.get("bias"), options.get("softcap")
    kept = np.ones((rows, keys), bool) if mask is None else np.broadcast_to(mask, (rows, keys))
    added = np.zeros(keys) if bias is None else np.broadcast_to(bias, (rows, keys))[r].astype(np.float64)
    return [
        (scale * t if cap is None else arb(cap) * (scale * t / arb(cap)).tanh()) + arb(b)
        if kept[r, j] and b > -np.inf and (not options.get("causal") or j <= r + keys - rows)
        else None
        for j, (t, b) in enumerate(zip(_products(matrix, x), added, strict=True))
    ]


def _attention(batch: Batch, x: list[float], r: int) -> list[arb]:
    """exp(c x_i) over the kept ones and the sink, about the largest; rows without either are not asked for."""
    options = batch.options
    mask, sink, scale = options.get("mask"), options.get("sink"), arb(float(options.get("scale", 1.0)))
    kept = [True] * len(x) if mask is None else np.broadcast_to(mask, batch.x.shape)[r].tolist()
    z = [_capped(scale, v, options.get("softcap")) if keep else None for v, keep in zip(x, kept, strict=True)]
    extra = [] if sink is None else [arb(float(sink))]
    live = [v for v in z if v is not None] + extra
    total = lambda about: sum(((w - about).exp() for w in live), ZERO)  # noqa: E731
    return [ZERO if v is None else 1 / total(v) for v in z]


def _capped(scale: arb, value: float, cap: float | None) -> arb | None:
    """scale value, or cap tanh(scale value / cap); None: -inf."""
    if cap is None:
        return scale * arb(value) if value > -np.inf else None
    return arb(cap) * (scale * arb(value) / arb(cap)).tanh() if value > -np.inf else -arb(cap)


def _coefficients(target: Any, n: int, options: Any) -> list[arb]:
    e = arb(float(options.get("label_smoothing", 0.0)))
    weight = options.get("weight")
    w = [ONE] * n if weight is None else [arb(float(v)) for v in weight]
    y = [arb(float(v)) for v in target] if np.ndim(target) else [arb(int(c == int(target))) for c in range(n)]
    return [w[c] * (y[c] * (1 - e) + e / n) for c in range(n)]


def outside(batch: Batch, enclosure: Enclosure) -> tuple[int, list[int]]:
    """(elements checked, flat positions whose true value is proven to be outside their enclosure, or not inside).

    Special values (tier 0) are not looked at. Precision is raised until Arb tells on which side the value lies. Where tier 1
    answers for roundings, its enclosures are looked at, and the others' roundings must be the same.
    """
    if enclosure._rounding is not None:
        form, quick = enclosure._rounding
        checked, failed = outside(batch, quick)
        first, second = (form.widen(one.rounded(form)).ravel() for one in (quick, Enclosure(*enclosure.fields)))
        return checked, failed + np.flatnonzero((first != second) & ~(np.isnan(first) & np.isnan(second))).tolist()
    flat = enclosure.reshape(-1)
    wanted = flat.tier != 0
    checked, failed = int(wanted.sum()), []
    for precision in PRECISIONS:
        ctx.prec = precision
        unsure = np.zeros(flat.size, bool)
        for position, ball in elements(batch, wanted):
            hi, lo, e, radius = (field[position].item() for field in (flat.hi, flat.lo, flat.exponent, flat.radius))
            value = ball * arb(2) ** -int(e)
            low, high = (arb(hi) + (arb(lo) + side * arb(radius)) for side in (-1, 1))
            if low < value < high or (radius == 0 and (value - low).is_zero()):
                continue
            if value < low or value > high:
                failed.append(position)
            elif precision < PRECISIONS[-1] or not (_at_an_end(value, low, high) or _vanishes(ball, int(e))):
                unsure[position] = True
        wanted = unsure
        if not wanted.any():
            break
    return checked, failed + np.flatnonzero(wanted).tolist()


def _at_an_end(value: arb, low: arb, high: arb) -> bool:
    """20,000 bits cannot tell d - exp(-1e308) from d: then d must be an end of the interval, and the ball lie in it."""
    return any(abs(value - end) < arb(2) ** -min(15000, ctx.prec - 4000) for end in (low, high))


def _vanishes(ball: arb, exponent: int) -> bool:
    """exp(-1e318) is below Arb's reach: the enclosure must be as small, and the ball know no more than that it is small."""
    return exponent < -(2**39) and abs(ball) < arb(2) ** -15000


def exactly(raw: Any) -> arb:
    """A raw mpf as an exact ball."""
    sign, man, exp, _ = raw
    return arb((-int(man) if sign else int(man), int(exp)))


def operand(generator: np.random.Generator, prec: int) -> Any:
    """A dyadic number of 1 to 2,200 bits and a size between 2**-2200 and 2**1100: most near, some far apart."""
    bits = int(generator.choice([1, 2, 24, 53, prec - 1, prec, prec + 1, 2 * prec, 2200]))
    man = int.from_bytes(generator.bytes(bits // 8 + 1), "big") >> (8 - bits % 8) | 1
    kind = generator.integers(0, 6)
    if kind == 0:  # next to a power of two
        man = (1 << bits) + int(generator.integers(-1, 2))
    elif kind < 3:  # next to a shorter number, as x - m is where x is tiny
        head = int(generator.integers(1, 1 << int(generator.choice([4, 24, 53]))))
        man = (head << int(generator.integers(1, 2 * prec))) + int(generator.integers(-1, 2))
    size = int(generator.integers(-8, 9) if generator.integers(0, 4) else generator.integers(-2200, 1100))
    if kind > 3:
        size -= int(generator.integers(0, 2 * prec))
    return libmp.from_man_exp(man * int(generator.choice([-1, 1])), size - man.bit_length())


def primitives_outside(count: int, seed: int) -> list[tuple[str, int, int]]:
    """(operation, precision, number of the trial) of the trials whose interval does not hold the value.

    Interval operations at 64 to 256 bits, whose operands are exact or as wide as such an operation leaves them.
    """
    generator, found = np.random.default_rng(seed), []
    for trial in range(count):
        prec = int(generator.choice([64, 80, 113, 128, 200, 256]))
        a, name = BigArithmetic(prec), PRIMITIVES[trial % len(PRIMITIVES)]
        true, given = [], []
        for _ in range(8 if name == "sum" else 2 if name in ("+", "-", "*", "/") else 1):
            raw = operand(generator, prec)
            if name == "exp":
                raw = libmp.mpf_neg(libmp.mpf_abs(raw)) if raw[2] + raw[3] < 11 else libmp.from_float(-745.25)
            if name in ("log", "log1p"):
                raw = libmp.mpf_abs(raw)
            low, high = (libmp.mpf_pos(raw, prec, way) for way in "fc")
            exact = bool(generator.integers(0, 2))
            given.append(
                Interval(raw, raw, prec, raw if generator.integers(0, 2) else None)
                if exact
                else Interval(low, high, prec)
            )
            true.append(raw)
        result = PRIMITIVE[name](a, given)
        low, high = exactly(result.lo), exactly(result.hi)
        for ctx.prec in (12000,) if name in ("+", "-", "*", "sum") else (1000, 12000):
            value = PRIMITIVE_ARB[name]([exactly(raw) for raw in true])
            if low <= value <= high:
                break
            if value < low or value > high:
                found.append((name, prec, trial))
                break
        else:
            if not _at_an_end(value, low, high):
                found.append((name, prec, trial))
    return found


PRIMITIVE: dict[str, Any] = {
    "+": lambda _, v: v[0] + v[1],
    "-": lambda _, v: v[0] - v[1],
    "*": lambda _, v: v[0] * v[1],
    "/": lambda _, v: v[0] / v[1],
    "exp": lambda a, v: a.exp(v[0]),
    "log": lambda a, v: a.log(v[0]),
    "log1p": lambda a, v: a.log1p(v[0]),
    "sum": lambda a, v: sum(v, a.number(0)),
}
PRIMITIVE_ARB: dict[str, Any] = {
    "+": lambda v: v[0] + v[1],
    "-": lambda v: v[0] - v[1],
    "*": lambda v: v[0] * v[1],
    "/": lambda v: v[0] / v[1],
    "exp": lambda v: v[0].exp(),
    "log": lambda v: v[0].log(),
    "log1p": lambda v: v[0].log1p(),
    "sum": lambda v: sum(v, ZERO),
}
PRIMITIVES = tuple(PRIMITIVE)


def number(generator: np.random.Generator, *, low: float = -np.inf, high: float = np.inf) -> float:
    """A float64 parameter from its whole range: zero, subnormal, tiny, ordinary, huge, of either sign."""
    while True:
        match generator.integers(0, 6):
            case 0:
                value = float(
                    generator.choice([0.0, 1.0, 0.5, 5e-324, 2.0**-1022, 1e-300, 1e-160, 1e300, 1.7e308, 0.1])
                )
            case 1:
                value = float(generator.random())
            case 2:
                value = float(np.ldexp(1.0 + generator.random(), int(generator.integers(-1074, 1023))))
            case 3:
                value = float(np.ldexp(1.0, int(generator.integers(-1074, 1023))))
            case 4:
                value = int(generator.integers(1, 50)) * 5e-324
            case _:
                value = 1.0 + int(generator.integers(-4, 5)) * 2.0**-53
        value = -value if generator.integers(0, 4) == 0 else value
        if low <= value <= high:
            return value


def logits_of_every_size(form: FloatFormat, shape: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    """Ordinary ones, any at all, a few subnormals, whole numbers; some -inf, never in the first column."""
    rows, n = shape
    kinds = (
        lambda: generator.standard_normal(shape) * 20,
        lambda: np.array([[number(generator) for _ in range(n)] for _ in range(rows)]),
        lambda: generator.integers(-3, 4, shape) * float(form.smallest_subnormal),
        lambda: generator.integers(-3, 4, shape) * 1.0,
    )
    x = form.narrow(np.clip(kinds[generator.integers(0, 4)](), -form.max_finite, form.max_finite))
    if generator.integers(0, 4) == 0 and form.has_inf:
        x[:, 1:][generator.random((rows, n - 1)) < 0.5] = -np.inf
    return x


def extreme(op: str, fmt: str, generator: np.random.Generator, rows: int = 6) -> Batch:
    """A batch whose logits, targets and options are drawn from their whole range."""
    form, shape = FORMATS[fmt], (rows, int(generator.integers(1, 5)))
    least = -np.inf if generator.integers(0, 3) == 0 else 0.0

    def numbers(*shape: int, low: float = least, high: float = np.inf) -> np.ndarray:
        return np.array([number(generator, low=low, high=high) for _ in range(int(np.prod(shape)))]).reshape(shape)

    x = logits_of_every_size(form, shape, generator)
    options: dict[str, Any] = {}
    if op in EXTREME:
        return EXTREME[op](op, fmt, x, generator)
    match op:
        case "softmax_temperature":
            options["temperature"] = number(generator) or 5e-324
        case "attention_softmax":
            options["scale"] = abs(number(generator)) or 5e-324
            mask = generator.random(shape) < 0.7
            mask[:, 0] = True
            options |= {"mask": mask} if generator.integers(0, 2) else {}
            options |= {"sink": number(generator)} if generator.integers(0, 2) else {}
            options |= {"softcap": abs(number(generator)) or 1.0} if generator.integers(0, 2) else {}
        case "kl_divergence" | "logaddexp" | "js_divergence":
            inputs = dict(zip(OPS[op].inputs, (x, logits_of_every_size(form, shape, generator)), strict=True))
            return Batch(op, fmt, "extreme", inputs)
        case "token_logprob":
            options["temperature"] = number(generator) or 5e-324
            labels = generator.integers(0, shape[1], rows) * np.isfinite(x.astype(np.float64)).all(axis=1)
            return Batch(op, fmt, "extreme", {"logits": x, "target": labels}, options)
        case "cross_entropy" | "cross_entropy_grad":
            target = numbers(*shape) if generator.integers(0, 2) else generator.integers(0, shape[1], rows)
            if op == "cross_entropy":
                options = {"reduction": "none", "label_smoothing": number(generator, low=0.0, high=1.0)}
                options |= {"weight": numbers(shape[1])} if generator.integers(0, 2) else {}
                options |= {"softcap": abs(number(generator)) or 1.0} if generator.integers(0, 4) == 0 else {}
                options |= (
                    {"lse_square_scale": number(generator, low=0.0, high=1.0)} if generator.integers(0, 4) == 0 else {}
                )
            return Batch(op, fmt, "extreme", {"logits": x, "target": target}, options)
        case "binary_cross_entropy_with_logits":
            options = {"weight": numbers(shape[1]), "pos_weight": numbers(shape[1]), "reduction": "none"}
            return Batch(op, fmt, "extreme", {"logits": x, "target": numbers(*shape, low=-np.inf)}, options)
    return Batch(op, fmt, "extreme", {"x": x}, options)


def _extreme_products(op: str, fmt: str, x: np.ndarray, generator: np.random.Generator) -> Batch:
    """Rows, vectors, values and options from their whole ranges; infinite products are left to the format."""
    form, rows, n = FORMATS[fmt], len(x), x.shape[1]
    x = form.narrow(np.where(np.isfinite(x.astype(np.float64)), x.astype(np.float64), 0.0))
    k, m = int(generator.integers(1, 5)), int(generator.integers(1, 4))

    def numbers(*shape: int) -> np.ndarray:
        drawn = logits_of_every_size(form, (shape[0], int(np.prod(shape[1:]))), generator).astype(np.float64)
        return form.narrow(np.where(np.isfinite(drawn), drawn, 1.0).reshape(shape))

    if op == "merge_states":
        b, la, lb = numbers(rows, n), numbers(rows, 1)[:, 0], numbers(rows, 1)[:, 0]
        lb[generator.random(rows) < 0.2] = -np.inf if form.has_inf else 0.0
        return Batch(op, fmt, "extreme", dict(zip(OPS[op].inputs, (x, la, b, lb), strict=True)))
    options: dict[str, Any] = {}
    if op == "linear_cross_entropy":
        inputs = (x, numbers(k, n), generator.integers(0, k, rows))
        options = {"reduction": "none", "label_smoothing": number(generator, low=0.0, high=1.0)}
        options |= {"bias": numbers(1, k)[0]} if generator.integers(0, 2) else {}
        options |= {"softcap": abs(number(generator)) or 1.0} if generator.integers(0, 2) else {}
        options |= {"lse_square_scale": number(generator, low=0.0, high=1.0)} if generator.integers(0, 2) else {}
    else:
        inputs = (x, numbers(k, n), numbers(k, m))[: len(OPS[op].inputs)]
        options = {"scale": abs(number(generator)) or 5e-324, "causal": bool(k >= rows and generator.integers(0, 2))}
        mask = generator.random((rows, k)) < 0.7
        mask[:, 0] = True
        options |= {"mask": mask} if generator.integers(0, 2) else {}
        options |= {"bias": numbers(rows, k)} if generator.integers(0, 2) else {}
        options |= {"softcap": abs(number(generator)) or 1.0} if generator.integers(0, 2) else {}
    return Batch(op, fmt, "extreme", dict(zip(OPS[op].inputs, inputs, strict=True)), options)


def _extreme_chosen(op: str, fmt: str, x: np.ndarray, generator: np.random.Generator) -> Batch:
    """One of the classes, or the k largest."""
    rows, n = x.shape
    if op == "topk_softmax":
        options = {"k": int(generator.integers(1, n + 1)), "renormalise": bool(generator.integers(0, 2))}
        return Batch(op, fmt, "extreme", {"x": x}, options)
    labels = generator.integers(0, n, rows) * np.isfinite(x.astype(np.float64)).all(axis=1)
    weight = {"weight": np.array([number(generator, low=0.0) for _ in range(n)])} if generator.integers(0, 2) else {}
    return Batch(op, fmt, "extreme", {"log_probabilities": x, "target": labels}, {"reduction": "none", **weight})


def _extreme_losses(op: str, fmt: str, x: np.ndarray, generator: np.random.Generator) -> Batch:
    """Numbers between 0 and 1; log-probabilities in either order; probabilities with any power and balance."""
    if op == "gumbel":
        u = np.array([number(generator, low=0.0, high=1.0) for _ in range(x.size)]).reshape(x.shape)
        return Batch(op, fmt, "extreme", {"u": FORMATS[fmt].narrow(u)})
    if op == "kl_divergence_log":
        inputs = {"log_p": x, "log_q": logits_of_every_size(FORMATS[fmt], x.shape, generator)}
        return Batch(op, fmt, "extreme", inputs, {"reverse": bool(generator.integers(0, 2))})
    target = np.array([number(generator, low=0.0, high=1.0) for _ in range(x.size)]).reshape(x.shape)
    options = {"reduction": "none", "gamma": abs(number(generator)) or 5e-324}
    options |= {"alpha": number(generator, low=0.0, high=1.0)} if generator.integers(0, 2) else {}
    return Batch(op, fmt, "extreme", {"logits": x, "target": target}, options)


EXTREME: dict[str, Any] = {
    **dict.fromkeys(("attention", "attention_lse", "linear_cross_entropy", "merge_states"), _extreme_products),
    **dict.fromkeys(("topk_softmax", "nll"), _extreme_chosen),
    **dict.fromkeys(("gumbel", "kl_divergence_log", "focal"), _extreme_losses),
}
"""Operations whose inputs are drawn by a function of their own."""
