"""Measures beside ulps (docs/reading.md): absolute and relative error, and what a row's user sees.

Per row of probabilities |sum y - 1|, KL(p || y) in nats and whether the largest class changed; per loss whether a positive
one came out 0; of log-probabilities how far the ratio to the true one is from 1; and the mean distance from the correctly
rounded value, with its sign, which training adds up where single errors are small. Each merges over calls by maximum or by
addition.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.enclosure import Enclosure
from xent_verify.core.formats import FloatArray
from xent_verify.core.model import Batch
from xent_verify.core.shapes import clipped
from xent_verify.ops import Op
from xent_verify.verdict.distances import log_probabilities, ratios
from xent_verify.verdict.measure import CODE, Errors
from xent_verify.verdict.properties import result_rows

__all__ = ["KEPT", "MEASURES", "added", "beside_ulps", "derived"]

MEASURES: Mapping[str, str] = {
    "max_absolute_error": "largest |y - t|",
    "max_relative_error": "largest |y - t| / |t|",
    "max_row_sum_error": "largest |sum of a row of probabilities - 1|",
    "max_kl_nats": "largest KL(p || y) of a row, in nats",
    "argmax_flips": "rows whose largest class is another one",
    "losses_to_zero": "positive losses that came out 0",
    "max_delta": "largest finite |Δ|, Δ = log p of the answer - log p of the truth",
    "ratios_outside": "ratios exp(Δ) that leave [0.9, 1.1]",
    "mean_kl": "mean of exp(Δ) - 1 - Δ, which estimates the KL divergence over samples of the truth",
    "mean_error": "mean of y - (t correctly rounded) in units of the limit, each at most 1; of rows their means",
    "bias": "that mean over its standard error; 0 where every value is correctly rounded",
}
_SIGNED = ("signed_rows", "signed_sum", "signed_squares")
"""Rows, the sum of their mean signed errors and the sum of the squares: what ``mean_error`` and ``bias`` are made of."""

_SUMMED = ("ratios", "kl")
"""Log-probabilities, and the sum of exp(Δ) - 1 - Δ: what ``mean_kl`` is made of."""

_LARGEST_LOG = 745.0
"""Size of the logarithms of probabilities that float64 can hold; no sample has another."""

KEPT = (*(name for name in MEASURES if name not in ("mean_error", "bias", "mean_kl")), *_SIGNED, *_SUMMED)
"""What is counted, and stands in results."""

_GRID = 2.0**20
"""Mean errors are rounded to multiples of its inverse, so that their sums are exact in any order."""

_FEW = 30
"""Rows below which a mean says nothing."""

_LAWS = {"sum_to_one", "exp_sums_to_one"}
"""Operations that keep one of them give probabilities or their logarithms."""
_COUNTED = np.array([CODE["ok"], CODE["inaccurate"]])


def added(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, float]:
    """Two records as one."""
    merged = dict(first)
    for name, value in second.items():
        held = merged.get(name, 0.0)
        merged[name] = max(held, value) if name.startswith("max_") else held + value
    return merged


def derived(kept: Mapping[str, float]) -> dict[str, float]:
    """Every measure of ``MEASURES``, from what was counted; NaN where that says nothing."""
    told = {name: kept.get(name, math.nan) for name in MEASURES}
    if kept.get("ratios"):
        told["mean_kl"] = kept["kl"] / kept["ratios"]
    rows, total, squares = (kept.get(name, 0.0) for name in _SIGNED)
    if rows >= _FEW:
        mean = total / rows
        spread = math.sqrt(max(squares / rows - mean * mean, 0.0) / rows)
        told |= {
            "mean_error": mean,
            "bias": mean / spread if spread else math.copysign(math.inf, mean) if mean else 0.0,
        }
    return told


def beside_ulps(op: Op, batch: Batch, observed: FloatArray, truth: Enclosure, errors: Errors) -> dict[str, float]:
    """The measures of one answer; ``observed`` holds its values as float64 in the truth's shape.

    Errors are taken over finite cases (as the largest error in ulps is), rows over those whose values are all finite.
    """
    with np.errstate(all="ignore"):
        true = truth.to_float64()
        counted = np.isin(errors.code, _COUNTED) & np.isfinite(errors.ulp) & np.isfinite(true)
        quantum = truth.units(batch.result_form).quantum[counted]
        absolute = np.ldexp(errors.ulp[counted], clipped(quantum, -2200, 2200).astype(np.int32))
        size = np.abs(true[counted])
        relative = np.where(size > 0, absolute / np.where(size > 0, size, 1.0), 0.0)
        found = {"max_absolute_error": _largest(absolute), "max_relative_error": _largest(relative)}
        steps = observed[counted] - truth.rounded(batch.result_form).astype(np.float64)[counted]
        share = np.ldexp(steps, clipped(-quantum, -1000, 1000).astype(np.int32)) * (errors.ratio / errors.ulp)[counted]
        signed = np.zeros(errors.ulp.shape)
        signed[counted] = np.where(steps == 0, 0.0, np.nan_to_num(clipped(share, -1.0, 1.0)))
        found |= _signed(op, batch, signed, counted) | _ratios(op, batch, observed, truth)
        if op.by_row and (_LAWS & set(op.laws)):
            found |= _rows(op, batch, observed, true)
        elif op.result == "loss" or "not_negative" in op.laws:
            lost = (observed == 0) & (true > 0) & (truth.rounded(batch.result_form) > 0)
            found["losses_to_zero"] = float(np.count_nonzero(lost))
    return found


def _signed(op: Op, batch: Batch, signed: FloatArray, counted: NDArray[np.bool_]) -> dict[str, float]:
    """The sums of ``_SIGNED`` over rows (elements, of an elementwise operation): errors of one row are not independent."""
    if op.by_row:
        signed, counted = result_rows(op, batch, signed), result_rows(op, batch, counted)
    else:
        signed, counted = signed.reshape(-1, 1), counted.reshape(-1, 1)
    held = counted.sum(axis=1)
    steps = np.rint(np.rint(signed[held > 0] * _GRID).sum(axis=1) / held[held > 0])
    return dict(zip(_SIGNED, (float(len(steps)), steps.sum() / _GRID, (steps * steps).sum() / _GRID**2), strict=True))


def _ratios(op: Op, batch: Batch, observed: FloatArray, truth: Enclosure) -> dict[str, float]:
    """Of single log-probabilities: what weights, smoothing or a mean change is none; p = 0 (exact, rounded) has no ratio."""
    plain = op.result != "loss" or op.option(batch, "reduction") == "none"
    if not plain or set(batch.options) - {"axis", "reduction", "ignore_index"}:
        return {}
    true, rounded = truth.to_float64(), truth.rounded(batch.result_form).astype(np.float64)
    logs = [one for one in (log_probabilities(op, values) for values in (observed, true, rounded)) if one is not None]
    if not logs:
        return {}
    told = ~np.isnan(logs[0]) & (np.abs(logs[1]) < _LARGEST_LOG) & np.isfinite(logs[2])
    found = ratios(op, observed[told], true[told])
    exact = {"ratios_outside": float(found["outside"]), "ratios": float(found["logs"])}
    return exact | {"max_delta": float(f"{found['max_delta']:.9g}"), "kl": float(f"{found['kl']:.9g}")}


def _rows(op: Op, batch: Batch, observed: FloatArray, true: FloatArray) -> dict[str, float]:
    y, t = result_rows(op, batch, observed), result_rows(op, batch, true)
    logs = "sum_to_one" not in op.laws
    sound = ~np.isnan(t).any(axis=1) & ~np.isnan(y).any(axis=1) & ~np.isinf(y).all(axis=1) & (t.shape[1] > 0)
    y, t = y[sound], t[sound]
    if not y.size:
        return {}
    places = np.arange(len(y)), t.argmax(axis=1)
    found = {"argmax_flips": float(np.count_nonzero(y[places] < y.max(axis=1)))}
    if logs:
        p, gain = np.exp(t), t - y
    else:
        p, gain = t, -np.log1p((y - t) / np.where(t > 0, t, 1.0))
        found["max_row_sum_error"] = _largest(np.abs(y.sum(axis=1) - 1.0))
    taking_part = p >= batch.result_form.smallest_subnormal  # below it a class may be rounded to 0
    divergence = np.where(taking_part, p * gain, 0.0).sum(axis=1)
    found["max_kl_nats"] = _largest(np.maximum(divergence, 0.0))
    return found


def _largest(values: FloatArray) -> float:
    """The largest value, to the nine digits that float64 arithmetic gives on every machine."""
    return float(f"{values.max(initial=0.0, where=~np.isnan(values)):.9g}")
