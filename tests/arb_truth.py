"""An independent oracle: true values as Arb balls (python-flint), and a check that enclosures hold them.

Written from the textbook formulas over whole rows; it shares nothing with ``xent_verify.truth`` but the inputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flint import arb, ctx

from xent_verify.enclosure import Enclosure
from xent_verify.model import Batch

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
        return (self.x[i] - self.x[self.top]) - self.log

    def p(self, i: int) -> arb:
        return self.terms[i] / (1 + self.others)

    def lse(self) -> arb:
        return self.x[self.top] + self.log


def row_of(values: Sequence[float], temperature: float = 1.0) -> Row:
    """A row with at least one finite logit and no NaN or +inf."""
    x = [None if v == -np.inf else arb(v) / temperature for v in values]
    order = [(-np.inf if t is None else v / np.sign(temperature)) for t, v in zip(x, values, strict=True)]
    top = int(np.argmax(order))
    terms = [ZERO if t is None else (t - x[top]).exp() for t in x]
    others = sum((t for i, t in enumerate(terms) if i != top), ZERO)
    return Row(x, top, terms, others, others.log1p())


def _loss(row: Row, coefficients: Sequence[arb]) -> arb:
    return -sum((a * row.log_p(i) for i, a in enumerate(coefficients) if a != 0), ZERO)


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
    per_row = batch.op in ("logsumexp", "cross_entropy", "kl_divergence")
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
            pairs = zip(x, y.tolist(), strict=True)
            return [_loss(row_of([v, 0.0]), [arb(t), 1 - arb(t)]) if np.isfinite(v) else ZERO for v, t in pairs]
        case "kl_divergence":
            p, q = row_of(x), row_of(values[1].astype(np.float64)[r].tolist())
            return [sum((p.p(i) * (p.log_p(i) - q.log_p(i)) for i in range(n) if p.x[i] is not None), ZERO)]
        case "cross_entropy":
            return [_loss(row_of(x), _coefficients(values[1][r], n, options))]
        case "cross_entropy_grad":
            target = values[1][r]
            y = target.astype(np.float64) if np.ndim(target) else np.eye(n)[int(target)]
            return _gradient(row_of(x), y.tolist())
    raise AssertionError(batch.op)


def _coefficients(target: Any, n: int, options: Any) -> list[arb]:
    e = arb(float(options.get("label_smoothing", 0.0)))
    weight = options.get("weight")
    w = [ONE] * n if weight is None else [arb(float(v)) for v in weight]
    y = [arb(float(v)) for v in target] if np.ndim(target) else [arb(int(c == int(target))) for c in range(n)]
    return [w[c] * (y[c] * (1 - e) + e / n) for c in range(n)]


def outside(batch: Batch, enclosure: Enclosure) -> tuple[int, list[int]]:
    """(elements checked, flat positions whose true value is proven to be outside their enclosure, or not inside).

    Special values (tier 0) are not looked at. Precision is raised until Arb tells on which side the value lies.
    """
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
            elif precision < PRECISIONS[-1] or not _at_an_end(value, low, high):
                unsure[position] = True
        wanted = unsure
        if not wanted.any():
            break
    return checked, failed + np.flatnonzero(wanted).tolist()


def _at_an_end(value: arb, low: arb, high: arb) -> bool:
    """20,000 bits cannot tell d - exp(-1e308) from d: then d must be an end of the interval, and the ball lie in it."""
    return any(abs(value - end) < arb(2) ** -15000 for end in (low, high))
