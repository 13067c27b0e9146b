"""Laws that hold without an oracle: shift, permutation, sums, ranges, order, concatenation.

Each tolerance follows from the error limit of the values themselves: with \\|y_i - t_i\\| <= B_i for every element, a law
that holds for the true t is violated by at most the sum of the B it involves (twice that where two answers are compared),
plus float64's own rounding in the check (n * 2**-52 relative). So a violation is a fault, and sound answers never violate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.formats import FloatArray
from xent_verify.judge import Hit
from xent_verify.model import Batch, Outcome, Returned
from xent_verify.ops import Op

__all__ = ["LAWS", "Law"]

Ask = Callable[[Batch], Outcome]
_EPS = 2.0**-52


@dataclass(frozen=True, slots=True)
class Law:
    """One law; ``check(ask, op, batch, value, limit)`` gives the hits (kind "property")."""

    name: str
    about: str
    check: Callable[[Ask, Op, Batch, NDArray[Any], FloatArray], list[Hit]]


def _broken(text: str, excess: FloatArray, mask: NDArray[np.bool_]) -> list[Hit]:
    """A hit where ``excess`` (violation minus tolerance) is positive."""
    bad = mask & (excess > 0)
    if not bad.any():
        return []
    index = int(np.argmax(np.where(bad, excess, -np.inf)))
    where = tuple(int(i) for i in np.unravel_index(index, excess.shape))
    return [Hit("property", "fail", f"{text}, violated at {where}", int(np.count_nonzero(bad)))]


def _axis(op: Op, batch: Batch) -> int:
    return int(op.option(batch, "axis")) if "axis" in op.options else (1 if batch.x.ndim > 1 else -1)


def _rows(op: Op, batch: Batch, *arrays: NDArray[Any]) -> list[FloatArray]:
    """Arrays of the input's shape with the op's axis last, as float64 rows."""
    axis = _axis(op, batch)
    moved = [np.moveaxis(np.broadcast_to(array, batch.x.shape).astype(np.float64), axis, -1) for array in arrays]
    return [array.reshape(-1, batch.x.shape[axis]) for array in moved]


def _sound(x: FloatArray) -> NDArray[np.bool_]:
    """Rows of finite logits and -inf, at least one finite."""
    return ~np.isnan(x).any(axis=1) & ~np.isposinf(x).any(axis=1) & np.isfinite(x).any(axis=1)


def _sum_to_one(_ask: Ask, op: Op, batch: Batch, value: NDArray[Any], limit: FloatArray) -> list[Hit]:
    """|sum p - 1| <= sum B_i."""
    x, p, bound = _rows(op, batch, batch.x, value, limit)
    tolerance = bound.sum(axis=1) + p.shape[1] * _EPS
    return _broken("the probabilities of a row sum to 1", np.abs(p.sum(axis=1) - 1) - tolerance, _sound(x))


def _exp_sums_to_one(_ask: Ask, op: Op, batch: Batch, value: NDArray[Any], limit: FloatArray) -> list[Hit]:
    """|sum exp(y) - 1| <= sum exp(y) (exp(B_i) - 1)."""
    x, y, bound = _rows(op, batch, batch.x, value, limit)
    with np.errstate(all="ignore"):
        e = np.exp(y)
        tolerance = np.where(e > 0, e * np.expm1(np.minimum(bound, 700)), 0.0).sum(axis=1) + (y.shape[1] + 4) * 4 * _EPS
        return _broken("exp(log-softmax) of a row sums to 1", np.abs(e.sum(axis=1) - 1) - tolerance, _sound(x))


def _rows_sum_to_zero(_ask: Ask, op: Op, batch: Batch, value: NDArray[Any], limit: FloatArray) -> list[Hit]:
    """|sum g| <= sum B_i, for class targets (and probabilities: p sum(y) - y sums to 0 as well)."""
    x, g, bound = _rows(op, batch, batch.x, value, limit)
    tolerance = bound.sum(axis=1) + 4 * g.shape[1] * _EPS
    return _broken("the gradient of a row sums to 0", np.abs(g.sum(axis=1)) - tolerance, _sound(x))


def _range(_ask: Ask, _op: Op, batch: Batch, value: NDArray[Any], limit: FloatArray) -> list[Hit]:
    """0 <= p <= 1, to B."""
    p = value.astype(np.float64)
    known = ~np.isnan(p)
    return _broken("a probability lies in [0, 1]", np.maximum(-p, p - 1) - np.broadcast_to(limit, p.shape), known)


def _not_positive(_ask: Ask, _op: Op, batch: Batch, value: NDArray[Any], limit: FloatArray) -> list[Hit]:
    """log p <= 0, to B."""
    y = value.astype(np.float64)
    return _broken("a log-probability is at most 0", y - np.broadcast_to(limit, y.shape), ~np.isnan(y))


def _not_negative(_ask: Ask, _op: Op, batch: Batch, value: NDArray[Any], limit: FloatArray) -> list[Hit]:
    """loss >= 0, to B (for non-negative weights and targets)."""
    parts = [batch.options.get("weight"), batch.inputs.get("target")]
    if any(isinstance(part, np.ndarray) and part.dtype.kind not in "iu" and (part.astype(np.float64) < 0).any() for part in parts):
        return []
    y = value.astype(np.float64)
    return _broken("a loss is at least 0", -y - np.broadcast_to(limit, y.shape), ~np.isnan(y))


def _monotone(_ask: Ask, op: Op, batch: Batch, value: NDArray[Any], limit: FloatArray) -> list[Hit]:
    """x_i <= x_j implies y_i <= y_j + B_i + B_j, checked between neighbours in sorted order."""
    if float(batch.options.get("temperature", 1.0)) < 0:
        return []
    x, y, bound = _rows(op, batch, batch.x, value, limit)
    order = np.argsort(x, axis=1, kind="stable")
    y, bound = np.take_along_axis(y, order, 1), np.take_along_axis(bound, order, 1)
    with np.errstate(all="ignore"):
        excess = (y[:, :-1] - y[:, 1:]) - (bound[:, :-1] + bound[:, 1:])
    return _broken("a larger logit has no smaller probability", excess, _sound(x)[:, None] & ~np.isnan(excess))


def _at_least_max(_ask: Ask, op: Op, batch: Batch, value: NDArray[Any], limit: FloatArray) -> list[Hit]:
    """m <= L <= m + log n, to B."""
    axis = _axis(op, batch)
    top = batch.x.astype(np.float64).max(axis=axis, initial=-np.inf)
    y = value.astype(np.float64)
    with np.errstate(all="ignore"):
        low, high = top - y, y - (top + np.log(batch.x.shape[axis]))
        slack = np.broadcast_to(limit, y.shape) + 4 * _EPS * np.abs(top)
        return _broken("max <= logsumexp <= max + log n", np.maximum(low, high) - slack, np.isfinite(top))


def _answer(ask: Ask, batch: Batch, shape: tuple[int, ...]) -> FloatArray | None:
    outcome = ask(batch)
    if not isinstance(outcome, Returned) or outcome.value.shape != shape or outcome.value.dtype.kind in "cOSUM":
        return None
    return outcome.value.astype(np.float64)


def _differ(text: str, first: NDArray[Any], second: FloatArray, tolerance: FloatArray) -> list[Hit]:
    a = first.astype(np.float64)
    with np.errstate(all="ignore"):
        excess = np.where(a == second, -1.0, np.abs(a - second) - tolerance)
    return _broken(text, np.where(np.isnan(excess), -1.0, excess), np.ones(a.shape, np.bool_))


def _exact_shift(batch: Batch) -> float:
    """A shift that every finite logit takes without rounding: 0 where none of the candidates does."""
    x = batch.x.astype(np.float64)
    finite = x[np.isfinite(x)]
    for c in (16.0, -8.0, 1.0, 0.5, 2.0**-6):
        moved = finite + c
        with np.errstate(all="ignore"):
            if finite.size and np.array_equal(batch.form.widen(batch.form.narrow(moved)), moved) and np.array_equal(moved - c, finite):
                return c
    return 0.0


def _shifted(batch: Batch, by: float) -> Batch:
    return replace(
        batch,
        inputs={
            name: batch.form.narrow(value.astype(np.float64) + by) if name != "target" else value
            for name, value in batch.inputs.items()
        },
    )


def _shift(ask: Ask, op: Op, batch: Batch, value: NDArray[Any], limit: FloatArray) -> list[Hit]:
    """f(x + c) = f(x) for a shift c that rounds nowhere: the two answers differ by at most 2 B."""
    c = _exact_shift(batch)
    if len(op.inputs) > 1 and "target" not in op.inputs:
        return []
    other = _answer(ask, _shifted(batch, c), value.shape) if c else None
    return [] if other is None else _differ(f"adding {c:g} to every logit changes nothing", value, other, 2 * limit)


def _shift_adds(ask: Ask, _op: Op, batch: Batch, value: NDArray[Any], limit: FloatArray) -> list[Hit]:
    """L(x + c) = L(x) + c: 2 B plus the rounding of the larger value."""
    c = _exact_shift(batch)
    other = _answer(ask, _shifted(batch, c), value.shape) if c else None
    if other is None:
        return []
    slack = 2 * limit + (np.abs(other) + abs(c)) * batch.form.unit_roundoff * 2
    return _differ(f"adding {c:g} to every logit adds {c:g}", value, other - c, slack)


def _permutation(ask: Ask, op: Op, batch: Batch, value: NDArray[Any], limit: FloatArray) -> list[Hit]:
    """Reversing the logits reverses the answer (elements) or leaves it (rows)."""
    axis = _axis(op, batch)
    name = next(iter(batch.inputs))
    turned = np.ascontiguousarray(np.flip(batch.x, axis))
    other = _answer(ask, replace(batch, inputs={**batch.inputs, name: turned}, layout="C"), value.shape)
    if other is None:
        return []
    back = np.flip(other, axis) if op.result == "elements" else other
    return _differ("reversing the logits only reverses the answer", value, back, 2 * np.broadcast_to(limit, value.shape))


def _concatenation(ask: Ask, op: Op, batch: Batch, value: NDArray[Any], limit: FloatArray) -> list[Hit]:
    """L(a, b) = log(exp L(a) + exp L(b)): each part within B, so the whole within 2 B and the parts' rounding."""
    axis = _axis(op, batch)
    n = batch.x.shape[axis]
    if n < 2 or batch.x.ndim > 2:
        return []
    cut = n // 2
    pieces = [np.take(batch.x, range(cut), axis), np.take(batch.x, range(cut, n), axis)]
    parts = [_answer(ask, replace(batch, inputs={"x": piece}, layout="C"), value.shape) for piece in pieces]
    if any(part is None for part in parts):
        return []
    with np.errstate(all="ignore"):
        joined = np.logaddexp(*parts)
        size = np.maximum.reduce([np.abs(part) for part in parts if part is not None])
        slack = 3 * limit + 3 * np.where(np.isfinite(size), size, 0.0) * batch.form.unit_roundoff
    return _differ("logsumexp of a row is that of its halves joined", value, joined, slack)


def _one_hot(ask: Ask, op: Op, batch: Batch, value: NDArray[Any], limit: FloatArray) -> list[Hit]:
    """A class index and its one-hot row give the same loss (no weight, nothing ignored, finite logits)."""
    target = batch.inputs["target"]
    x = batch.x.astype(np.float64)
    plain = target.ndim == 1 and batch.options.get("weight") is None and np.isfinite(x).all() and target.size
    if not plain or (target.astype(object) == int(op.option(batch, "ignore_index"))).any():
        return []
    rows = np.zeros(x.shape)
    rows[np.arange(len(rows)), target.astype(np.int64)] = 1.0
    inputs = {**batch.inputs, "target": batch.form.narrow(rows)}
    other = _answer(ask, replace(batch, inputs=inputs), value.shape)
    return [] if other is None else _differ("a class index and its one-hot row give the same loss", value, other, 2 * limit)


LAWS: Mapping[str, Law] = {
    law.name: law
    for law in (
        Law("shift", "adding a constant to a row changes nothing", _shift),
        Law("shift_adds", "adding a constant to a row adds it to logsumexp", _shift_adds),
        Law("permutation", "order does not matter", _permutation),
        Law("sum_to_one", "probabilities sum to 1", _sum_to_one),
        Law("exp_sums_to_one", "exp(log-softmax) sums to 1", _exp_sums_to_one),
        Law("rows_sum_to_zero", "gradient rows sum to 0", _rows_sum_to_zero),
        Law("range", "probabilities lie in [0, 1]", _range),
        Law("not_positive", "log-probabilities are at most 0", _not_positive),
        Law("not_negative", "losses are at least 0", _not_negative),
        Law("monotone", "a larger logit has no smaller probability", _monotone),
        Law("at_least_max", "max <= logsumexp <= max + log n", _at_least_max),
        Law("concatenation", "logsumexp of a row is that of its parts", _concatenation),
        Law("one_hot", "an index and its one-hot row agree", _one_hot),
    )
}
