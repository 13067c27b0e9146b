"""Where an answer is wrong, in words: what the failing values or rows of several calls have in common and the others have not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.formats import FloatArray, FloatFormat, format_named
from xent_verify.diagnose.agreement import spread, ways
from xent_verify.diagnose.case import Case, has
from xent_verify.ops.rows import Rows
from xent_verify.regimes.draw import edges_of

__all__ = ["describe"]

Mask = NDArray[np.bool_]
Features = Mapping[str, FloatArray]
"""Words with a place for a number, and the number of each row, or of each value."""

_MOST = 4000
"""Rows, or values, of one call that are compared."""


def describe(cases: Sequence[Case], band: str = "") -> str:
    """A sentence or two about the first call: what its failing values are, what their rows add up to; and where it fails.

    ``band``: the place, where it is known; otherwise the failing calls are looked at together.
    """
    with np.errstate(all="ignore"):
        parts = [_what(cases[0]), band or _where(cases), _sums(cases[0])]
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


def _where(cases: Sequence[Case]) -> str:
    """What sets failing rows apart, or, where right values stand beside wrong ones, what sets these apart."""
    placed = [case for case in cases if case.failing.ndim and len(_failing(case)) == len(case.rows)]
    if not placed:
        return ""
    rows = _apart([_of_rows(case) for case in placed], placed[0].form)
    if all(_whole(case) for case in placed):
        return rows
    return _apart([_of_values(case) for case in placed], placed[0].form) or rows


def _whole(case: Case) -> bool:
    """Whether all values of a failing row fail."""
    return bool(_failing(case)[case.failing_rows].all())


def _failing(case: Case) -> Mask:
    return case.by_row(case.failing.astype(np.float64)) > 0


def _of_rows(case: Case) -> tuple[Features, Mask]:
    """What the logits of each row are, then where they stand, and which rows fail."""
    rows = case.rows.astype(np.float64)
    count = len(rows)
    features: dict[str, NDArray[Any]] = {} if case.op.named("matrix") else _of_logits(rows)
    for name, value in list(case.batch.inputs.items())[1:]:
        if value.shape == case.batch.x.shape and case.op.inputs[name] == "row":
            other = Rows.of_call(case.op, case.batch).of(case.form.widen(value))
            features |= {
                f"rows with max {name} {{}}": other.max(axis=1, initial=-np.inf),
                f"rows with min {name} {{}}": other.min(axis=1, initial=np.inf),
            }
    target = case.batch.inputs.get("target")
    if target is not None and target.ndim == 1 and len(target) == count and target.dtype.kind in "iu":
        features["targets {}"] = target
        if "rows of {} logits" in features:
            features["rows whose target leads by {}"] = _lead(rows, target.astype(np.int64))
    if case.by_row(case.true).shape == (count, 1):
        features["true values of magnitude {}"] = np.abs(case.by_row(case.true))[:, 0]
    features["row {}"] = np.arange(count)
    failing = np.asarray(_failing(case).any(axis=1))
    known = np.asarray(~np.isnan(case.by_row(case.true))).any(axis=1)
    return _kept(features, failing, np.logical_or(failing, known))


def _lead(rows: FloatArray, label: NDArray[np.int64]) -> FloatArray:
    """How far the label's logit is above the largest other one; 0 where either is not finite, or the label is no column."""
    count, n = rows.shape
    inside = (label >= 0) & (label < n)
    own = np.where(inside, rows[np.arange(count), np.where(inside, label, 0)], np.nan)
    hot = (np.arange(n) == label[:, None]) & inside[:, None]
    others = np.where(hot, -np.inf, rows).max(axis=1, initial=-np.inf)
    return np.where(np.isfinite(own) & np.isfinite(others), own - others, 0.0)


def _of_logits(rows: FloatArray) -> dict[str, NDArray[Any]]:
    """What the logits of each row are, how many, and where the largest stands."""
    count, n = rows.shape
    finite = np.where(np.isfinite(rows), rows, 0.0)
    top = rows.max(axis=1, initial=-np.inf)
    gaps = top[:, None] - rows
    second = np.partition(rows, n - 2, axis=1)[:, n - 2] if n > 1 else np.full(count, -np.inf)
    features = {
        "rows with max x {}": top,
        "rows with max |x| {}": np.abs(finite).max(axis=1, initial=0.0),
        "rows with max x - min x {}": np.where(np.isfinite(gaps), gaps, 0.0).max(axis=1, initial=0.0),
        "rows with {} NaN": np.isnan(rows).sum(axis=1),
        "rows with {} -inf": np.isneginf(rows).sum(axis=1),
        "rows with {} +inf": np.isposinf(rows).sum(axis=1),
        "rows with {} logits equal to the largest": (rows == top[:, None]).sum(axis=1),
        "rows whose largest logit leads by {}": np.where(np.isfinite(top), top - second, 0.0),
        "rows of {} logits": np.full(count, n),
    }
    if n:
        at = rows.argmax(axis=1)
        features |= {
            "rows whose largest logit is in column {}": at,
            "rows whose largest logit is in column {}, counted from the end": n - 1 - at,
        }
    return features


def _of_values(case: Case) -> tuple[Features, Mask]:
    """What each value's logit is, what the value is, where it stands; and which values fail."""
    failing = _failing(case)
    count, n = failing.shape
    rows = case.rows.astype(np.float64)
    features: dict[str, FloatArray] = {}
    if n > 1 and rows.shape == failing.shape:
        features["max x - x {}"] = rows.max(axis=1, keepdims=True) - rows
    columns = np.broadcast_to(np.arange(n, dtype=np.float64), failing.shape)
    true = case.by_row(case.true)
    features["true values of magnitude {}"] = np.abs(true)
    if n > 1:
        features |= {"column {}": columns, "column {}, counted from the end": columns[:, ::-1]}
    features["row {}"] = np.broadcast_to(np.arange(count, dtype=np.float64)[:, None], failing.shape)
    flat = {words: values.ravel() for words, values in features.items()}
    telling = np.abs(true) >= case.batch.result_form.smallest_normal  # below it nothing is far off
    return _kept(flat, failing.ravel(), (telling | failing).ravel())


def _kept(features: Mapping[str, NDArray[Any]], failing: Mask, judged: Any) -> tuple[Features, Mask]:
    """A part of the failing ones and of the others, those that are judged."""
    chosen = np.sort(np.concatenate([spread(np.flatnonzero(mask & judged), _MOST) for mask in (failing, ~failing)]))
    return {words: values[chosen].astype(np.float64) for words, values in features.items()}, failing[chosen]


_TOLD = 8.0
"""Bits: what chance gives in one of 256 cases is no region."""

_PURE, _MIXED = 0.8, 0.3
"""Share of the units in a region that fail, at least; of one that holds no more than half of all units."""


def _apart(tables: Sequence[tuple[Features, Mask]], form: FloatFormat) -> str:
    """The region of one feature that all failing units are in, and hardly any other; the first of the most telling.

    Units that are alike in everything count once.
    """
    shared = [words for words in tables[0][0] if all(words in features for features, _ in tables)]
    failing = np.concatenate([mask for _, mask in tables])
    values = np.array([np.concatenate([features[words] for features, _ in tables]) for words in shared])
    *unlike, bad = np.unique(np.vstack([values, failing]), axis=1)
    values, failing = np.array(unlike), bad > 0
    if failing.all():
        return ""
    best, told = _TOLD, ""
    for words, numbers in zip(shared, values, strict=True):
        found = _region(words, numbers, failing, form)
        if found and found[0] > best + bool(told):
            best, told = found
    return told


def _region(words: str, values: FloatArray, failing: Mask, form: FloatFormat) -> tuple[float, str] | None:
    """(bits, "wrong only for ...").

    Of K units j fail and lie among w neighbouring ones: chance puts them there once in C(K, j) / C(w, j), times the number of
    such places.
    """
    if np.isnan(values[failing]).any():
        return None
    bad, others = np.unique(values[failing]), np.unique(values[~failing & ~np.isnan(values)])
    low, high = bad[0], bad[-1]
    inside = (values >= low) & (values <= high)
    below, above = bool((others < low).any()), bool((others > high).any())
    pure = _MIXED if inside.sum() <= len(values) / 2 else _PURE
    if failing.sum() < pure * inside.sum() or not (below or above):
        return None
    every = np.unique(np.concatenate([bad, others]))
    places = len(every) - int(((every >= low) & (every <= high)).sum()) + 1 if below and above else 2
    count, wrong = len(values), int(failing.sum())
    bits = ways(count, wrong) - ways(int(inside.sum()), wrong) - math.log2(places)
    if below and above:
        text = f"{low:.6g}" if low == high else f"{low:.6g} to {high:.6g}"
    else:
        text = f"≥ {low:.6g}" if below else f"≤ {high:.6g}"
    edge = _near(words, form, float(others[others < low].max()), float(low)) if below and "max" in words else ""
    return bits, f"wrong only for {words.format(text)}{edge}"


def _near(words: str, form: FloatFormat, low: float, high: float) -> str:
    """A remark where an edge of exp's range lies between the largest good and the smallest bad value."""
    for where in (form.name, "float32") if form.bits < 32 else (form.name,):
        for name, edge in _edges(format_named(where), gaps=" - " in words):
            if low <= edge <= high:
                return f" (exp {name} in {where} beyond {edge:.4g})"
    return ""


def _edges(form: FloatFormat, *, gaps: bool) -> tuple[tuple[str, float], ...]:
    """Logits, or gaps, at which the exp of one (of minus the other) meets an end of the format's range."""
    edges = edges_of(form)
    if gaps:
        return ("underflows to 0", -edges.vanishing), ("leaves the normal range", -edges.normal)
    return (("overflows", edges.overflow),)


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
