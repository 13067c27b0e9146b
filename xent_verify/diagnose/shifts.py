"""Mistakes of the shift: nothing is subtracted before exp, or not the row's maximum."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from xent_verify.diagnose.case import Array, Case, Prediction
from xent_verify.diagnose.mistake import Mistake
from xent_verify.diagnose.tampered import STARTS, WIDTHS

__all__ = ["MISTAKES", "NO_SHIFT"]

_THRESHOLDS = (10.0, 50.0, 80.0, 85.0, 88.0, 88.72, 100.0, 700.0, 709.0, 1000.0)

Reference = Callable[[Case], Iterator[tuple[str, Array]]]


def _about(reference: Reference) -> Callable[[Case], Iterator[Prediction]]:
    """exp(x - r) / sum exp(x - r), or what corresponds, for every reference r [R, 1] of a family."""

    def model(case: Case) -> Iterator[Prediction]:
        for name, r in reference(case):
            terms = np.exp(case.rows - r)
            yield from case.forms(
                r, terms.sum(axis=1, keepdims=True), terms, name, f"Σ exp(x - {name})" if name else "Σ exp(x)"
            )

    return model


def _nothing(case: Case) -> Iterator[tuple[str, Array]]:
    yield "", np.zeros_like(case.top)


def _ends(case: Case) -> Iterator[tuple[str, Array]]:
    yield "x[0]", case.rows[:, :1]
    yield "x[-1]", case.rows[:, -1:]


def _mean(case: Case) -> Iterator[tuple[str, Array]]:
    yield "mean(x)", case.rows.mean(axis=1, keepdims=True)
    yield "median(x)", np.median(case.rows.astype(np.float64), axis=1, keepdims=True).astype(case.dtype)


def _magnitude(case: Case) -> Iterator[tuple[str, Array]]:
    finite = np.where(np.isneginf(case.rows), 0, case.rows)
    place = np.abs(finite).argmax(axis=1)[:, None]
    yield "(the logit of largest magnitude)", np.take_along_axis(finite, place, axis=1)
    yield "max|x|", np.abs(case.rows).max(axis=1, keepdims=True)
    yield "max|x|", np.abs(finite).max(axis=1, keepdims=True)


def _minimum(case: Case) -> Iterator[tuple[str, Array]]:
    yield "min(x)", case.rows.min(axis=1, keepdims=True)


def _batch(case: Case) -> Iterator[tuple[str, Array]]:
    top = case.rows.max()
    yield "max(batch)", np.full_like(case.top, top)
    finite = np.where(np.isfinite(case.rows), case.rows, -np.inf)
    yield "max(batch)", np.full_like(case.top, finite.max())
    yield from _row_blocks(case)


def _row_blocks(case: Case) -> Iterator[tuple[str, Array]]:
    """Rows that lie together (the matrix of a stack, a tile of rows) share one maximum."""
    count = len(case.top)
    outer = np.delete(case.batch.x.shape, int(case.batch.options.get("axis", -1)))
    together = np.multiply.accumulate(outer[::-1].astype(np.int64))
    for k in sorted({int(k) for k in (*together, *WIDTHS) if 1 < k < count}):
        starts = np.arange(0, count, k)
        yield f"max({k} rows)", np.repeat(np.maximum.reduceat(case.top, starts), k, axis=0)[:count]


def _neighbour(case: Case) -> Iterator[tuple[str, Array]]:
    for step, name in ((1, "max(row before)"), (-1, "max(next row)")):
        yield name, np.roll(case.top, step, axis=0)
    yield "max(first row)", np.broadcast_to(case.top[:1], case.top.shape)


def _skipping(case: Case) -> Iterator[tuple[str, Array]]:
    n, low = case.rows.shape[1], case.dtype.type(-np.inf)
    yield "max(x[1:])", case.rows[:, 1:].max(axis=1, keepdims=True, initial=low)
    yield "max(x[:-1])", case.rows[:, :-1].max(axis=1, keepdims=True, initial=low)
    for k in reversed(WIDTHS):
        if k < n:
            yield f"max(x[:{k}])", case.rows[:, :k].max(axis=1, keepdims=True)
            yield f"max(x[-{k}:])", case.rows[:, -k:].max(axis=1, keepdims=True)
            whole = n // k * k
            if k > 1 and whole < n:
                yield f"max(x[:{whole}])", case.rows[:, :whole].max(axis=1, keepdims=True)
                yield f"max(the last, partial block of {k})", case.rows[:, whole:].max(axis=1, keepdims=True)


def _floored(case: Case) -> Iterator[tuple[str, Array]]:
    yield "max(tiny, max x)", np.maximum(case.top, case.dtype.type(case.arithmetic.smallest_normal))
    masked = np.where(np.isneginf(case.rows), 0, case.rows)
    yield "max(x, masked logits as 0)", masked.max(axis=1, keepdims=True)
    for floor in STARTS:
        yield f"max({floor:g}, max x)", np.maximum(case.top, case.dtype.type(floor))


def _sometimes(case: Case) -> Iterator[tuple[str, Array]]:
    for edge in _THRESHOLDS:
        yield f"(max x where it is above {edge:g}, else 0)", np.where(case.top > edge, case.top, 0).astype(case.dtype)
    yield "(max x where it is positive, else 0)", np.where(case.top > 0, case.top, 0).astype(case.dtype)


def _target(case: Case) -> Iterator[tuple[str, Array]]:
    if case.task.soft:
        return
    ids = np.clip(case.task.target.astype(np.int64), 0, case.rows.shape[1] - 1)
    yield "x[target]", np.take_along_axis(case.rows, ids[:, None], axis=1)


def _columns(case: Case) -> Iterator[tuple[str, Array]]:
    """The maximum over the rows in place of the columns."""
    peaks = case.rows.max(axis=0)
    terms = np.exp(case.rows - peaks)
    if case.rows.shape[0] > 1 and case.wants == "p":
        yield "x - max over the other axis", terms / terms.sum(axis=1, keepdims=True)


def _other_axis(case: Case) -> Iterator[Prediction]:
    for name, values in _columns(case):
        yield name, case.result(values)


def _unguarded(case: Case) -> Iterator[Prediction]:
    """The maximum itself, with no guard for infinite ones."""
    guarded = np.where(np.isneginf(case.top), 0, case.top)
    for words, top in (("with no guard", case.top), ("guarded for -inf only", guarded)):
        terms = np.exp(case.rows - top)
        name, value = next(case.forms(top, terms.sum(axis=1, keepdims=True), terms, "max x", "Σ exp(x - max x)"))
        yield f"{name}, {words}", value


def _cancelling(case: Case) -> Iterator[Prediction]:
    """log p as a difference of numbers of the logits' size."""
    stored = (case.lse, case.lse.astype(case.own).astype(case.dtype))
    for lse, name in zip(stored, ("logsumexp(x)", "(logsumexp(x) stored in the input's format)"), strict=True):
        if case.wants == "log p":
            yield f"x - {name}", case.result(np.asarray(case.rows - lse))
        elif case.wants == "p":
            yield f"exp(x - {name})", case.result(np.exp(case.rows - lse))


def _scaled(case: Case) -> Iterator[Prediction]:
    """Base-2 exponentials of products that are rounded before the subtraction."""
    factor = case.dtype.type(np.log2(np.e))
    scaled = case.rows * factor
    terms = np.exp2(scaled - scaled.max(axis=1, keepdims=True))
    total = terms.sum(axis=1, keepdims=True)
    ln2 = case.dtype.type(np.log(2))
    if case.wants == "p":
        yield "exp2(x log2 e - max(x log2 e)) / Σ", case.result(terms / total)
        yield (
            "exp2(x log2 e - log2 Σ)",
            case.result(np.exp2(scaled - (scaled.max(axis=1, keepdims=True) + np.log2(total)))),
        )
    elif case.wants == "log p":
        shifted = scaled - scaled.max(axis=1, keepdims=True)
        yield "(x log2 e - max - log2 Σ) ln 2", case.result((shifted - np.log2(total)) * ln2)
    else:
        yield "(max(x log2 e) + log2 Σ) ln 2", case.result((scaled.max(axis=1, keepdims=True) + np.log2(total)) * ln2)


_SMOOTHED = "the smoothing term is taken on raw logits"


def _raw_smoothing(case: Case) -> Iterator[Prediction]:
    if not case.task.label_smoothing or case.task.soft or case.task.weight is not None:
        return
    n = case.rows.shape[1]
    even = case.lse - case.rows.mean(axis=1, keepdims=True)
    hard, share = -case.log_p, case.dtype.type(case.task.label_smoothing)
    mixed = (1 - share) * hard + share * even
    terms = case.terms_of_loss
    ids = np.clip(case.task.target.astype(np.int64), 0, n - 1)
    picked = np.where(terms.live, np.take_along_axis(mixed, ids[:, None], axis=1)[:, 0], 0)
    yield "(1 - ε)·loss + ε·(logsumexp(x) - mean(x))", case.reduced(picked)


def _logistic(case: Case) -> Iterator[Prediction]:
    """The row is [x, 0]: exp(x) / (exp(x) + 1)."""
    terms = np.exp(case.rows)
    yield from case.forms(np.zeros_like(case.top), terms.sum(axis=1, keepdims=True), terms, "", "(1 + exp(x))")


def _log_of_sum(case: Case) -> Iterator[Prediction]:
    """log of 1 + exp(-|x|): nothing is left of an exponential below u."""
    if case.wants == "logsumexp":
        yield "max(x, 0) + log(1 + exp(-|x|))", case.result(case.lse)
    elif case.wants == "log p":
        yield "min(x, 0) - log(1 + exp(-|x|))", case.result(case.log_p)


def _mirrored(case: Case) -> Iterator[Prediction]:
    """1 / (1 + exp(-x))."""
    x = case.rows[:, :1]
    terms = np.exp(case.rows - x)
    for words, value in case.forms(x, terms.sum(axis=1, keepdims=True), terms, "x", "(1 + exp(-x))"):
        yield words.replace("exp(x - x)", "1"), value


NO_SHIFT = "no maximum is subtracted before exp"

MISTAKES: tuple[Mistake, ...] = (
    Mistake("no-shift", NO_SHIFT, _about(_nothing), everywhere=True, rows=True),
    Mistake("log-of-sum", "log(1 + e) takes the place of log1p(e): a small e is lost", _log_of_sum, paired=True),
    Mistake("exp-of-x", "exp is taken of x itself, however large", _logistic, paired=True, everywhere=True),
    Mistake("exp-of-minus-x", "exp is taken of -x, however large", _mirrored, paired=True, everywhere=True),
    Mistake(
        "x-minus-lse", "x and logsumexp(x) are subtracted at their own size, where their roundings stay", _cancelling
    ),
    Mistake(
        "infinity-minus-infinity", "an infinite maximum is subtracted from itself", _unguarded, special=True, rows=True
    ),
    Mistake(
        "batch-max",
        "one maximum for several rows, or the whole batch, is subtracted",
        _about(_batch),
        everywhere=True,
        rows=True,
        whole=True,
    ),
    Mistake(
        "first-or-last",
        "the first or last logit is subtracted in place of the maximum",
        _about(_ends),
        everywhere=True,
        rows=True,
    ),
    Mistake("mean", "the mean is subtracted in place of the maximum", _about(_mean), everywhere=True, rows=True),
    Mistake(
        "largest-magnitude",
        "the logit of largest magnitude is subtracted",
        _about(_magnitude),
        everywhere=True,
        rows=True,
    ),
    Mistake(
        "minimum", "the minimum is subtracted in place of the maximum", _about(_minimum), everywhere=True, rows=True
    ),
    Mistake(
        "part-of-the-row", "the maximum is taken over a part of the row", _about(_skipping), everywhere=True, rows=True
    ),
    Mistake(
        "floored-maximum", "the running maximum does not start at -inf", _about(_floored), everywhere=True, rows=True
    ),
    Mistake(
        "other-row",
        "the maximum of another row is subtracted",
        _about(_neighbour),
        everywhere=True,
        rows=True,
        whole=True,
    ),
    Mistake("other-axis-maximum", "the maximum is taken along another axis", _other_axis, whole=True),
    Mistake(
        "shift-at-threshold",
        "the maximum is subtracted only above a threshold",
        _about(_sometimes),
        everywhere=True,
        rows=True,
    ),
    Mistake(
        "about-target",
        "the target's logit is subtracted",
        _about(_target),
        "labels",
        True,
    ),
    Mistake("scaled-before-shift", "x log2 e is rounded before the maximum is subtracted", _scaled),
    Mistake("raw-smoothing", f"{_SMOOTHED}, where their roundings stay", _raw_smoothing, "loss"),
)
