"""Mistakes made on computed values: a logarithm of a rounded p, epsilons, clipping, complements, cheap functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import ml_dtypes
import numpy as np

from xent_verify.diagnose.case import Array, Case, Prediction, has
from xent_verify.diagnose.mistake import Mistake
from xent_verify.diagnose.tampered import CAPS, EPSILONS

__all__ = ["EXPONENTIALS", "IN_DENOMINATOR", "MISTAKES", "RESULTS", "ROUNDED_P"]


def _floor(case: Case) -> float | None:
    """The lowest log p that the failing values hold, where different true values share it: an epsilon or a bound.

    One value alone says nothing: an epsilon can be found for any.
    """
    sign = -1 if case.op.result == "loss" else 1
    finite = case.failing & np.isfinite(case.observed)
    logs, true = sign * case.observed[finite], case.true[finite]
    lowest = float(logs.min(initial=np.inf))
    near = logs <= lowest + 8 * float(case.form.ulp(lowest)) if logs.size else np.zeros(0, np.bool_)
    return lowest if len(np.unique(true[near])) > 1 else None


def _epsilons(case: Case) -> Iterator[tuple[str, float]]:
    """The usual ones, and the one that the floor gives where it is not among them."""
    yield from ((f"{epsilon:.3g}", epsilon) for epsilon in EPSILONS)
    lowest = _floor(case)
    if lowest is not None and -740 < lowest < -1 and case.wants == "log p":
        yield f"{np.exp(lowest):.4g}", float(np.exp(lowest))


def _log_of_rounded(case: Case) -> Iterator[Prediction]:
    yield "log(p)", case.result(np.log(case.p))
    stored = case.p.astype(case.own).astype(case.dtype)
    yield "log(p), p in the input's format", case.result(np.log(stored))


def _inside_log(case: Case) -> Iterator[Prediction]:
    for name, epsilon in _epsilons(case):
        value = case.dtype.type(epsilon)
        if value > 0:
            yield f"log(p + {name})", case.result(np.log(case.p + value))
            if not has(case.op, "loss"):
                yield (
                    f"log((p + {name}) / (1 + n {name}))",
                    case.result(np.log((case.p + value) / (1 + case.rows.shape[1] * value))),
                )


def _clipped(case: Case) -> Iterator[Prediction]:
    for name, epsilon in _epsilons(case):
        value, one = case.dtype.type(epsilon), case.dtype.type(1)
        if value > 0:
            yield f"log(max(p, {name}))", case.result(np.log(np.maximum(case.p, value)))
            yield f"log(clip(p, {name}, 1 - {name}))", case.result(np.log(np.clip(case.p, value, one - value)))


def _capped(case: Case) -> Iterator[Prediction]:
    for cap in CAPS:
        yield f"max(log p, -{cap:g})", case.result(np.maximum(case.log_p, case.dtype.type(-cap)))


def _in_denominator(case: Case) -> Iterator[Prediction]:
    zero = np.maximum(case.top, 0)
    for epsilon in EPSILONS:
        value = case.dtype.type(epsilon)
        yield from case.forms(case.top, case.total + value, case.terms, "m", f"(Σ + {epsilon:.3g})")
        terms = np.exp(case.rows - zero)
        total = terms.sum(axis=1, keepdims=True)
        yield from case.forms(zero, total + value, terms, "max(0, m)", f"(Σ + {epsilon:.3g})")


def _small_dropped(case: Case) -> Iterator[Prediction]:
    """Zero where the true value is below a threshold; the threshold from the values themselves."""
    lost = case.failing & (case.observed == 0) & np.isfinite(case.true)
    kept = (case.observed != 0) & np.isfinite(case.observed)
    if not lost.any():
        return
    edge = float(np.abs(case.true[lost]).max())
    above = np.abs(case.true[kept])
    above = above[above > edge]
    top = float(above.min(initial=np.inf))
    if top == np.inf and not kept.any() and edge > 1e-3:
        return
    dropped = np.where(np.abs(case.true) <= edge, 0.0, case.true)
    names = [f"{value:.3g}" for value in EPSILONS if edge < value <= top] or [f"about {edge:.3g}"]
    yield from ((f"0 where the magnitude is below {name}", dropped) for name in names)


def _flushed(case: Case) -> Iterator[Prediction]:
    least = case.form.smallest_normal
    words = f"0 below the smallest normal number {least:.3g}"
    yield words, np.where(np.abs(case.true) < least, 0.0, case.true)
    yield f"{words}, before the rounding", np.where(np.abs(case.true) <= least, 0.0, case.true)


def _bounded_result(case: Case) -> Iterator[Prediction]:
    """All failing values are one number, and the true ones, several, lie beyond it."""
    values = np.unique(case.observed[case.failing])
    if len(np.unique(case.true[case.failing])) > 1 and len(values) <= 2 and np.isfinite(values).all() and values.all():
        for bound in np.unique(np.abs(values)):
            yield f"no magnitude above {bound:.9g}", np.clip(case.true, -bound, bound)


def _nan_gone(case: Case) -> Iterator[Prediction]:
    if np.isnan(case.true).any():
        yield "0 for NaN", np.where(np.isnan(case.true), 0.0, case.true)


def _infinite_gone(case: Case) -> Iterator[Prediction]:
    """Infinite values replaced on the way out."""
    if np.isinf(case.true).any():
        for value in (0.0, case.form.max_finite, 100.0, 1e4, 1e9, 1e30, np.nan, -np.inf):
            words = "infinity of the other sign" if value == -np.inf else f"{value:g} in place of infinity"
            yield words, np.where(np.isinf(case.true), np.sign(case.true) * value, case.true)


def _other_base(case: Case) -> Iterator[Prediction]:
    two = np.exp2(case.gaps)
    total = two.sum(axis=1, keepdims=True)
    ln2 = case.dtype.type(np.log(2))
    match case.wants:
        case "p":
            yield "2^(x - m) / Σ 2^(x - m)", case.result(two / total)
        case "log p":
            yield "(x - m) - log2 Σ exp(x - m)", case.result(case.gaps - np.log2(case.total))
            yield "log2 p", case.result(case.log_p / ln2)
            yield "log10 p", case.result(case.log_p / case.dtype.type(np.log(10)))
            yield "(x - m) - log Σ 2^(x - m)", case.result(case.gaps - np.log(total))
            yield "(x - m) - log10 Σ exp(x - m)", case.result(case.gaps - np.log10(case.total))
        case "logsumexp":
            yield "m + log2 Σ exp(x - m)", case.result(case.top + np.log2(case.total))
            yield "m + log Σ 2^(x - m)", case.result(case.top + np.log(total))
            yield "logsumexp(x) / ln 2", case.result(case.lse / ln2)


def _sign(case: Case) -> Iterator[Prediction]:
    yield "the negative of the right value", -case.true
    yield "the absolute value of the right value", np.abs(case.true)


def _left_out(case: Case) -> Iterator[Prediction]:
    """Logits taken for probabilities, and the other way round."""
    peak = case.p.max(axis=1, keepdims=True)
    again = np.exp(case.p - peak)
    total = again.sum(axis=1, keepdims=True)
    match case.wants:
        case "p":
            yield "softmax(softmax(x))", case.result(again / total)
            yield "x itself", case.result(case.rows)
            yield "exp(x - m), not divided by the sum", case.result(case.terms)
            yield "exp(x)", case.result(np.exp(case.rows))
            yield "log_softmax(x)", case.result(case.log_p)
        case "log p":
            yield "log_softmax(softmax(x))", case.result((case.p - peak) - np.log(total))
            yield "log(x)", case.result(np.log(case.rows))
            yield "x itself", case.result(case.rows)
            yield "x - m, without log Σ", case.result(case.gaps)
            yield "p in place of log p", case.result(case.p)
        case "logsumexp":
            yield "logsumexp(softmax(x))", case.result(peak + np.log(total))
            yield "log Σ exp(x - m), without m", case.result(np.log(case.total))
            yield "max x", case.result(case.top)
            yield "m + Σ exp(x - m)", case.result(case.top + case.total)
            yield "log1p of the sum", case.result(case.top + np.log1p(case.total))


def _only_some_rows(case: Case) -> Iterator[Prediction]:
    """As above, but only for rows that look like probabilities."""
    inside = ((case.rows >= 0) & (case.rows <= 1)).all(axis=1, keepdims=True)
    near = inside & (np.abs(case.rows.sum(axis=1, keepdims=True) - 1) < 1e-2)
    if near.any() and case.wants == "p":
        yield "x itself where a row adds up to 1", case.result(np.where(near, case.rows, case.p))
    elif near.any() and case.wants == "log p":
        yield "log(x) where a row adds up to 1", case.result(np.where(near, np.log(case.rows), case.log_p))
    tops = case.rows.max(axis=1, keepdims=True)
    if (tops <= 0).any() and case.wants == "p":
        yield "exp(x) where all logits are negative", case.result(np.where(tops <= 0, np.exp(case.rows), case.p))
    elif (tops <= 0).any() and case.wants == "log p":
        yield "x itself where all logits are negative", case.result(np.where(tops <= 0, case.rows, case.log_p))


def _complement(case: Case) -> Iterator[Prediction]:
    """One probability as 1 minus the others."""
    n, p = case.rows.shape[1], case.p
    if n < 2:
        return
    places = [("the last p", np.full(len(p), n - 1)), ("the first p", np.zeros(len(p), np.int64))]
    places += [("the largest p", case.rows.argmax(axis=1))]
    each = np.arange(len(p))
    for name, place in places:
        rest = p.copy()
        rest[each, place] = 0
        rest[each, place] = 1 - rest.sum(axis=1)
        yield f"{name} as 1 - Σ of the others", _as_wanted(case, rest)
    if n == 2:
        half = np.tanh((case.rows[:, :1] - case.rows[:, 1:]) / 2)
        both = np.concatenate([1 + half, 1 - half], axis=1) / 2
        yield "(1 ± tanh((x[0] - x[1])/2)) / 2", _as_wanted(case, both.astype(case.dtype))


def _as_wanted(case: Case, p: Array) -> Array:
    return case.result(p if case.wants == "p" else np.log(p) if case.wants == "log p" else case.lse)


def _schraudolph(d: Array) -> Array:
    scaled = np.maximum(d.astype(np.float64), -80) * (2**23 / np.log(2)) + (127 * 2**23 - 486411)
    return np.asarray(scaled.astype(np.int32).view(np.float32).astype(d.dtype))


def _squared(steps: int) -> Callable[[Array], Array]:
    def power(d: Array) -> Array:
        value = np.exp(d / d.dtype.type(2.0**steps))
        for _ in range(steps):
            value = value * value
        return np.asarray(value)

    return power


def _limit(steps: int) -> Callable[[Array], Array]:
    def power(d: Array) -> Array:
        value = 1 + d / d.dtype.type(2.0**steps)
        for _ in range(steps):
            value = value * value
        return np.asarray(value)

    return power


def _table(size: int) -> Callable[[Array], Array]:
    def linear(d: Array) -> Array:
        d = np.maximum(d, -1000)
        steps = np.floor(d * size)
        return np.asarray(np.exp(steps / size) * (1 + (d - steps / size)))

    return linear


def _taylor(degree: int) -> Callable[[Array], Array]:
    """2^k times a polynomial of the rest, |rest| <= ln 2 / 2."""

    def series(d: Array) -> Array:
        d = np.maximum(d, -1000)
        k = np.rint(d / np.log(2))
        rest = d - (k * np.log(2)).astype(d.dtype)
        value = np.ones_like(rest)
        for j in range(degree, 0, -1):
            value = 1 + value * rest / d.dtype.type(j)
        return np.asarray(np.ldexp(value, k.astype(np.int32)))

    return series


EXPONENTIALS: tuple[tuple[str, Callable[[Array], Array]], ...] = (
    ("an exponential written into the exponent bits (Schraudolph)", _schraudolph),
    ("exp(x/256) squared 8 times", _squared(8)),
    ("exp(x/1024) squared 10 times", _squared(10)),
    ("(1 + x/256)^256", _limit(8)),
    ("(1 + x/1024)^1024", _limit(10)),
    ("(1 + x/4096)^4096", _limit(12)),
    ("a table of exponentials in steps of 1/64 with straight lines between", _table(64)),
    ("a table of exponentials in steps of 1/256 with straight lines between", _table(256)),
    ("a polynomial of degree 2 for exp", _taylor(2)),
    ("a polynomial of degree 3 for exp", _taylor(3)),
    ("a polynomial of degree 4 for exp", _taylor(4)),
    ("a polynomial of degree 5 for exp", _taylor(5)),
    ("exp in float32", lambda d: np.exp(d.astype(np.float32)).astype(d.dtype)),
    ("exp in float16", lambda d: np.exp(d.astype(np.float16)).astype(d.dtype)),
    ("exp in bfloat16", lambda d: np.exp(d.astype(ml_dtypes.bfloat16)).astype(d.dtype)),
)


def _cheap(case: Case) -> Iterator[Prediction]:
    for name, exponential in EXPONENTIALS:
        terms = exponential(case.gaps)
        yield from (
            (name, value) for _, value in case.forms(case.top, terms.sum(axis=1, keepdims=True), terms, "m", "Σ")
        )


def _floored_exp(case: Case) -> Iterator[Prediction]:
    for bound in (*CAPS[:-2], 86.0, 87.3, 88.72, 104.0, 126.0):
        terms = np.exp(np.maximum(case.gaps, case.dtype.type(-bound)))
        total = terms.sum(axis=1, keepdims=True)
        words = f"exp(max(x - m, -{bound:g}))"
        yield from ((f"{words} / Σ", value) for _, value in case.forms(case.top, total, terms, "m", "Σ"))
        if case.wants == "p":
            cut = np.where(case.gaps < -bound, 0, case.terms)
            yield f"0 where x - m < -{bound:g}", case.result(cut / cut.sum(axis=1, keepdims=True))


ROUNDED_P = Mistake(
    "log-of-rounded-p",
    "the logarithm of a rounded probability is taken",
    _log_of_rounded,
    everywhere=True,
    quantity="log p",
)
"""The first to be tried: it needs no more than a right softmax."""

IN_DENOMINATOR = Mistake("epsilon-in-denominator", "an epsilon is added to the sum", _in_denominator)
"""Late, since with values that vanish anyway any epsilon fits."""

RESULTS: tuple[Mistake, ...] = (
    Mistake("flushed", "subnormal results are flushed to zero", _flushed),
    Mistake("sign", "the sign is wrong", _sign),
    Mistake("small-dropped", "small values are returned as 0", _small_dropped),
    Mistake("bounded-result", "results are bounded", _bounded_result),
    Mistake("nan-replaced", "NaN is left out or replaced on the way", _nan_gone, special=True),
    Mistake("infinity-replaced", "an infinite value is replaced or lost", _infinite_gone, special=True),
)
"""Of any operation: what becomes of a right result."""

MISTAKES: tuple[Mistake, ...] = (
    Mistake("epsilon-in-log", "an epsilon is added inside the logarithm", _inside_log, quantity="log p"),
    Mistake("capped", "log p is bounded below", _capped, quantity="log p"),
    Mistake("clipped-p", "probabilities are clipped before the logarithm", _clipped, quantity="log p"),
    Mistake("wrong-base", "base-2 functions take the place of exp or log", _other_base),
    Mistake("softmax-twice", "softmax is applied once too often, or not finished", _left_out),
    Mistake("taken-for-probabilities", "logits are taken for (log-)probabilities", _only_some_rows),
    Mistake("complement", "a probability is computed as 1 minus the others", _complement),
    Mistake("cheap-exp", "the exponential is of low accuracy", _cheap),
    Mistake("bounded-exp", "the argument of exp is bounded", _floored_exp),
)  # fmt: skip
