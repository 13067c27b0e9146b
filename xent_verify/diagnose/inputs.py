"""Mistakes made on the logits before anything else: bounded, masked, narrowed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import ml_dtypes
import numpy as np

from xent_verify.diagnose.case import Array, Case, Prediction
from xent_verify.diagnose.mistake import Mistake

__all__ = ["CHANGES", "FILLED", "MASK_FILLED", "MISTAKES", "NARROW_WORK", "SENTINELS", "Changed", "right_values"]

_BOUNDS = (
    5.0, 10.0, 15.0, 16.0, 20.0, 30.0, 32.0, 40.0, 50.0, 60.0, 64.0, 75.0, 80.0, 85.0, 86.0, 87.0, 88.0, 88.72, 100.0, 200.0,
    500.0, 700.0, 709.0, 1e3, 1e4, 5e4, 65504.0, 1e5, 1e6, 1e9,
)  # fmt: skip
_SENTINELS = (
    -1e3,
    -9e3,
    -9999.0,
    -1e4,
    -3e4,
    -5e4,
    -65504.0,
    -65500.0,
    -1e5,
    -1e6,
    -1e9,
    -1e15,
    -1e20,
    -1e30,
    -1e37,
    -1e38,
    -3.3e38,
    -1.7e308,
)

FILLED = (0.0, -1.0, -100.0, *_SENTINELS)
"""What takes the place of -inf."""

Changed = Callable[[Case], Iterator[tuple[str, Array]]]


def _on_other_logits(change: Changed) -> Callable[[Case], Iterator[Prediction]]:
    """The right computation on other logits [R, n] in the arithmetic's precision."""

    def model(case: Case) -> Iterator[Prediction]:
        for words, rows in change(case):
            yield words, _right_on(case, rows)

    return model


def _right_on(case: Case, rows: Array) -> Array:
    return case.result(right_values(case, rows.astype(case.dtype)))


def right_values(case: Case, rows: Array) -> Array:
    """p, log p or logsumexp of rows, with 0 for a maximum that is not finite."""
    top = rows.max(axis=1, keepdims=True)
    safe = np.where(np.isfinite(top), top, 0).astype(rows.dtype)
    terms = np.exp(rows - safe)
    total = terms.sum(axis=1, keepdims=True)
    match case.wants:
        case "p":
            return np.asarray(terms / total)
        case "log p":
            return np.asarray((rows - safe) - np.log(total))
        case _:
            return np.asarray(safe + np.log(total))


def _clamped(case: Case) -> Iterator[tuple[str, Array]]:
    for bound in reversed(_BOUNDS):
        value = case.dtype.type(bound)
        if (np.abs(case.rows) > value).any():
            yield f"the right result for logits clamped to [-{bound:g}, {bound:g}]", np.clip(case.rows, -value, value)
            yield f"the right result for logits clamped to at most {bound:g}", np.minimum(case.rows, value)
            yield f"the right result for logits clamped to at least -{bound:g}", np.maximum(case.rows, -value)


def _nan_ignored(case: Case) -> Iterator[tuple[str, Array]]:
    missing = np.isnan(case.rows)
    if missing.any():
        for name, value in (("-inf", -np.inf), ("0", 0.0)):
            yield f"the right result with NaN as {name}", np.where(missing, value, case.rows)


def _nan_to_zero(case: Case) -> Iterator[Prediction]:
    if np.isnan(case.rows).any() or np.isnan(case.true).any():
        yield "0 for NaN", np.where(np.isnan(case.true), 0.0, case.true)
        rows = case.rows
        safe = np.fmax.reduce(rows, axis=1, keepdims=True)
        terms = np.nan_to_num(np.exp(rows - safe), nan=0.0)
        yield from case.forms(safe, terms.sum(axis=1, keepdims=True), terms, "m", "Σ, both without NaN")


def _mask_filled(case: Case) -> Iterator[tuple[str, Array]]:
    masked = np.isneginf(case.rows)
    if masked.any():
        lowest = -case.form.max_finite
        for value in (*FILLED, lowest, -case.arithmetic.max_finite):
            yield (
                f"the right result with -inf replaced by {value:g}",
                np.where(masked, case.dtype.type(value), case.rows),
            )


def _sentinel(case: Case) -> Iterator[tuple[str, Array]]:
    for value in reversed(_SENTINELS):
        low = (case.rows <= value) & np.isfinite(case.rows)
        if low.any():
            yield (
                f"the right result with logits at or below {value:g} taken for -inf",
                np.where(low, -np.inf, case.rows),
            )


def _sentinel_as_zero(case: Case) -> Iterator[Prediction]:
    """Logits below a sentinel contribute nothing, also to a row that has nothing else."""
    for value in reversed(_SENTINELS):
        low = (case.rows <= value) & np.isfinite(case.rows)
        if low.any() and case.wants == "p":
            terms = np.where(low, 0, case.terms)
            total = terms.sum(axis=1, keepdims=True)
            yield (
                f"0 for logits at or below {value:g}",
                case.result(np.where(total > 0, terms / np.where(total > 0, total, 1), 0)),
            )
            yield f"0 for logits at or below {value:g}", case.result(np.where(low, 0, case.p))
            yield f"0/0 for rows at or below {value:g}", case.result(np.asarray(terms / total))


def _stops_at_mask(case: Case) -> Iterator[tuple[str, Array]]:
    masked = np.isneginf(case.rows)
    if masked.any():
        yield (
            "the right result for the logits before the first -inf",
            np.where(np.cumsum(masked, axis=1) == 0, case.rows, -np.inf),
        )


def _infinity(case: Case) -> Iterator[Prediction]:
    """Infinite values replaced on the way out."""
    if np.isinf(case.true).any():
        for value in (0.0, case.form.max_finite, 100.0, 1e4, 1e9, 1e30):
            words = f"{value:g} in place of infinity"
            yield words, np.where(np.isinf(case.true), np.sign(case.true) * value, case.true)
        yield "NaN in place of infinity", np.where(np.isinf(case.true), np.nan, case.true)
        yield "infinity of the other sign", np.where(np.isinf(case.true), -case.true, case.true)


def _zero_times(case: Case) -> Iterator[Prediction]:
    masked = np.isneginf(case.rows)
    if case.wants == "log p" and masked.any():
        yield "0·(-inf) at masked logits", case.result(np.where(masked, case.p * case.log_p, case.log_p))


def _subnormal_as_zero(case: Case) -> Iterator[tuple[str, Array]]:
    small = (np.abs(case.rows) < case.form.smallest_normal) & (case.rows != 0)
    if small.any():
        yield "the right result with 0 for subnormal numbers", np.where(small, 0 * case.rows, case.rows)


def _narrowed(case: Case) -> Iterator[tuple[str, Array]]:
    for name, dtype in (
        ("float32", np.dtype(np.float32)),
        ("bfloat16", np.dtype(ml_dtypes.bfloat16)),
        ("float16", np.dtype(np.float16)),
    ):
        if dtype.itemsize < case.own.itemsize or (dtype != case.own and dtype.itemsize == case.own.itemsize):
            yield f"the right result for logits rounded to {name}", case.rows.astype(dtype).astype(case.dtype)


def _narrow_work(case: Case) -> Iterator[Prediction]:
    """Everything, or one intermediate, in a narrower format than the working precision."""
    for dtype in (np.dtype(np.float32), case.own, np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)):
        if dtype.itemsize >= case.dtype.itemsize:
            continue
        name = dtype.name
        narrow = case.computed_in(dtype)
        yield f"the whole computation in {name}", narrow.result(narrow.right)
        gaps = case.gaps.astype(dtype).astype(case.dtype)
        terms = np.exp(gaps)
        total = terms.sum(axis=1, keepdims=True)
        if case.wants == "p":
            yield f"x - m rounded to {name}", case.result(terms / total)
        elif case.wants == "log p":
            yield f"x - m rounded to {name}", case.result(gaps - np.log(total))
            yield f"log p rounded to {name}", case.result(case.log_p.astype(dtype).astype(case.dtype))
        terms = case.terms.astype(dtype).astype(case.dtype)
        yield from case.forms(case.top, terms.sum(axis=1, keepdims=True), terms, "m", f"Σ, exp rounded to {name}")
        yield from case.forms(
            case.top, terms.sum(axis=1, keepdims=True), case.terms, "m", f"Σ of exp rounded to {name}"
        )


MASK_FILLED = "-inf is replaced by a finite number"

CHANGES: tuple[tuple[str, str, Changed, bool], ...] = (
    ("sentinel", "finite logits are taken for a mask", _sentinel, False),
    ("clamped-logits", "logits are clamped", _clamped, False),
    ("nan-ignored", "NaN is ignored", _nan_ignored, True),
    ("mask-filled", MASK_FILLED, _mask_filled, True),
    ("stops-at-mask", "a -inf logit is taken for the end of the row", _stops_at_mask, False),
    ("flushed-input", "subnormal inputs are taken for 0", _subnormal_as_zero, False),
    ("narrow-input", "logits are rounded to a narrower format", _narrowed, False),
)
"""The right computation on changed logits: key, sentence, the changes, whether they are about special values."""


def _changed(key: str) -> Mistake:
    sentence, change, special = next(row[1:] for row in CHANGES if row[0] == key)
    return Mistake(key, sentence, _on_other_logits(change), special=special)


SENTINELS: tuple[Mistake, ...] = (
    _changed("sentinel"),
    Mistake("sentinel", "finite logits are taken for a mask", _sentinel_as_zero),
)
"""They need logits that are hardly ever seen, and say more than what loses small values in general."""

MISTAKES: tuple[Mistake, ...] = (
    _changed("clamped-logits"),
    _changed("nan-ignored"),
    Mistake("nan-replaced", "NaN is left out or replaced on the way", _nan_to_zero, special=True),
    _changed("mask-filled"),
    _changed("stops-at-mask"),
    Mistake("zero-times-infinity", "0 is multiplied by an infinity or NaN", _zero_times, special=True),
    Mistake("infinity-replaced", "an infinite value is replaced or lost", _infinity, special=True),
    _changed("flushed-input"),
    _changed("narrow-input"),
)

NARROW_WORK = Mistake("narrow-work", "intermediates are kept in a narrow format", _narrow_work)
"""Of the last to be tried: small errors may fit by chance."""
