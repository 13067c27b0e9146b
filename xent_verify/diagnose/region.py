"""Where an answer is wrong, in words: what the failing values have in common that the others do not have."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.formats import FloatArray, FloatFormat, format_named
from xent_verify.diagnose.agreement import ways
from xent_verify.diagnose.case import Case, has
from xent_verify.regimes.draw import edges_of

__all__ = ["describe"]

Mask = NDArray[np.bool_]


def describe(case: Case, band: str = "") -> str:
    """A sentence or two: what the failing values are, their band or what separates them, what their rows add up to."""
    with np.errstate(all="ignore"):
        parts = [_what(case), *([band] if band else _where(case)), _sums(case)]
    return "; ".join(part for part in parts if part)


def _what(case: Case) -> str:
    values = case.observed[case.failing]
    count = len(values)
    for name, mask in (
        ("NaN", np.isnan(values)),
        ("inf", np.isposinf(values)),
        ("-inf", np.isneginf(values)),
        ("0", values == 0),
    ):
        if mask.all():
            return f"all {count} failing values are {name}" if count > 1 else f"the failing value is {name}"
    if count > 1 and (values == values[0]).all():
        return f"all {count} failing values are {values[0]:.9g}"
    return ""


def _where(case: Case) -> Iterator[str]:
    if case.failing.ndim == 0:
        return
    failing = case.by_row(case.failing.astype(np.float64)) > 0
    others = ~failing & ~np.isnan(case.by_row(case.true))
    if not others.any():
        return
    for words, values, form in _features(case, failing.shape):
        found = _split(words, np.broadcast_to(values, failing.shape), failing, others, form)
        if found:
            yield found
            return


def _features(case: Case, shape: tuple[int, ...]) -> Iterator[tuple[str, FloatArray, FloatFormat | None]]:
    """(name, value per entry of the result by rows, the format whose range of exp the value may be near to).

    What the logits are goes before where they stand.
    """
    rows = case.rows.astype(np.float64)
    count, n = shape
    gaps = rows.max(axis=1, keepdims=True) - rows
    if n > 1 and rows.shape == shape:
        yield "max x - x {}", gaps, case.form
    finite = np.where(np.isfinite(rows), rows, 0.0)
    for words, values in (
        ("rows with max x {}", rows.max(axis=1)),
        ("rows with max |x| {}", np.abs(finite).max(axis=1)),
        ("rows with max x - min x {}", np.where(np.isfinite(gaps), gaps, 0.0).max(axis=1)),
        ("rows with {} NaN", np.isnan(rows).sum(axis=1)),
        ("rows with {} -inf", np.isneginf(rows).sum(axis=1)),
        ("rows with {} +inf", np.isposinf(rows).sum(axis=1)),
        ("rows with {} logits equal to the largest", (rows == rows.max(axis=1, keepdims=True)).sum(axis=1)),
    ):
        yield words, values.astype(np.float64)[:, None], case.form if "max" in words else None
    yield "true values of magnitude {}", np.abs(case.by_row(case.true)), None
    target = case.batch.inputs.get("target")
    if target is not None and target.ndim == 1 and len(target) == count:
        yield "targets {}", target.astype(np.float64)[:, None], None
    if n > 1:
        yield "column {}", np.arange(n, dtype=np.float64)[None], None
        yield "column {}, counted from the end", np.arange(n, dtype=np.float64)[None, ::-1], None
    yield "row {}", np.arange(count, dtype=np.float64)[:, None], None


_TOLD = 6.0
"""Bits: a threshold that chance gives in one of 64 cases is no region."""


def _split(words: str, values: FloatArray, failing: Mask, others: Mask, form: FloatFormat | None) -> str:
    """ "wrong only for ... >= k", where a threshold separates the two, and the range of exp it is near to.

    Of K different values of the feature j belong to failing elements; chance puts these at one end once in C(K, j) / 2.
    """
    bad, good = values[failing], values[others]
    if np.isnan(bad).any() or np.isnan(good).any():
        return ""
    above, below = bad.min() > good.max(), bad.max() < good.min()
    if not (above or below) or _bits(len(np.unique(bad)), len(np.unique(good))) < _TOLD:
        return ""
    if above:
        return f"wrong only for {words.format(f'≥ {bad.min():.6g}')}{_near(form, float(good.max()), float(bad.min()))}"
    return f"wrong only for {words.format(f'≤ {bad.max():.6g}')}"


def _bits(bad: int, good: int) -> float:
    """log2 of C(bad + good, bad) / 2."""
    return ways(bad + good, bad) - 1


def _near(form: FloatFormat | None, low: float, high: float) -> str:
    """A remark where an edge of exp's range lies between the largest good and the smallest bad value."""
    if form is None:
        return ""
    for where in (form.name, "float32") if form.bits < 32 else (form.name,):
        for name, edge in _edges(format_named(where)):
            if low <= edge <= high:
                return f" (exp {name} in {where} beyond {edge:.4g})"
    return ""


def _edges(form: FloatFormat) -> tuple[tuple[str, float], ...]:
    """|x| at which exp(x) of a format's range changes."""
    edges = edges_of(form)
    return (
        ("leaves the normal range", -edges.normal),
        ("overflows", edges.overflow),
        ("underflows to 0", -edges.vanishing),
    )


def _sums(case: Case) -> str:
    """What failing rows of probabilities add up to."""
    if case.op.result != "elements" or not case.op.by_row or case.wants not in ("p", "log p"):
        return ""
    values = case.by_row(case.observed)[case.failing_rows]
    values = np.exp(values) if case.wants == "log p" else values
    totals = values.sum(axis=1)
    wanted = 0.0 if has(case.op, "gradient") else 1.0
    totals = totals[np.isfinite(totals) & (np.abs(totals - wanted) > 64 * case.form.unit_roundoff)]
    if not totals.size:
        return ""
    off = totals - wanted
    if np.abs(off).max() < _SLIGHT:
        return f"the sums of failing rows are off by up to {np.abs(off).max():.2g}"
    low, high = float(totals.min()), float(totals.max())
    span = f"{low:.6g}" if low == high else f"{low:.6g} to {high:.6g}"
    return f"the sums of failing rows are not {wanted:g} but {span}"


_SLIGHT = 1e-3
