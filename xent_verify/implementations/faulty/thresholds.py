"""Sparsemax and entmax: what goes wrong in them alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xent_verify.implementations.entries import Fault
from xent_verify.implementations.faulty.triggers import NARROW, WIDE, on, rising
from xent_verify.implementations.rows import Array, row_map, typed_row_map
from xent_verify.implementations.thresholds import halved, shifted, threshold_1, threshold_2

__all__ = ["FAULTS"]

CATEGORY = "thresholds"
_MOST = 64
_HALVINGS = 17


def _largest(z: Array) -> Array:
    return np.sort(z, axis=-1)[:, ::-1][:, :_MOST]


def _bisected(z: Array, power: int) -> Array:
    """A few halvings of [-1, 0]."""
    low = np.full((len(z), 1), -1, z.dtype)
    for step in range(1, _HALVINGS + 1):
        middle = low + z.dtype.type(2.0**-step)
        low = np.where((np.maximum(z - middle, 0) ** power).sum(axis=-1, keepdims=True) >= 1, middle, low)
    return np.asarray(np.where(np.isnan(z), np.nan, np.maximum(z - low, 0) ** power))


def _about_numbers(rows: Array) -> Array:
    """x less the largest that is a number."""
    return np.asarray(rows - np.fmax.reduce(rows, axis=-1, keepdims=True))


def _numbers_alone(z: Array, threshold: Callable[[Array], Array]) -> Array:
    numbers = np.where(np.isnan(z), -np.inf, z)
    return np.asarray(np.maximum(numbers - threshold(numbers), 0))


@row_map
def sparsemax_kept_of_64(rows: Array) -> Array:
    """Only the 64 largest are looked at: of more that belong to it the sum is above 1."""
    z = shifted(rows)
    return np.asarray(np.maximum(z - threshold_1(_largest(z)), 0))


@row_map
def sparsemax_bisected(rows: Array) -> Array:
    """Seventeen halvings are not enough."""
    return _bisected(shifted(rows), 1)


@row_map
def sparsemax_skips_nan(rows: Array) -> Array:
    """A NaN is left out of the row."""
    return _numbers_alone(_about_numbers(rows), threshold_1)


@typed_row_map
def sparsemax_narrow_sum(rows: Array, dtype: np.dtype[Any]) -> Array:
    """The running sums are kept in the format of the logits."""
    z = shifted(rows)
    s = np.sort(z, axis=-1)[:, ::-1]
    k = np.arange(1, z.shape[-1] + 1, dtype=z.dtype)
    total = np.add.accumulate(s.astype(dtype), axis=-1, dtype=dtype).astype(z.dtype)
    count = np.maximum((1 + k * s > total).sum(axis=-1, keepdims=True), 1)
    tau = (np.take_along_axis(total, count - 1, axis=-1) - 1) / count.astype(z.dtype)
    return np.asarray(np.maximum(z - tau, 0))


@row_map
def entmax15_kept_of_64(rows: Array) -> Array:
    """Only the 64 largest are looked at: of more that belong to it the sum is above 1."""
    z = halved(rows)
    return np.asarray(np.maximum(z - threshold_2(_largest(z)), 0) ** 2)


@row_map
def entmax15_bisected(rows: Array) -> Array:
    """Seventeen halvings are not enough."""
    return _bisected(halved(rows), 2)


@row_map
def entmax15_skips_nan(rows: Array) -> Array:
    """A NaN is left out of the row."""
    return np.asarray(_numbers_alone(_about_numbers(rows) / 2, threshold_2) ** 2)


@row_map
def entmax15_small_dropped(rows: Array) -> Array:
    """Values below 1e-3 are returned as 0 in rows of more than 64."""
    z = halved(rows)
    p = np.maximum(z - threshold_2(z), 0) ** 2
    return np.where((p < 1e-3) & (z.shape[-1] > _MOST), 0, p)


_LONG = [0.01 * (i % 7) for i in range(100)]

FAULTS: tuple[Fault, ...] = (
    Fault("kept-of-64", "sparsemax", sparsemax_kept_of_64, CATEGORY,
          "more than 64 classes above the threshold", "threshold of a part", on([0.0] * 100)),
    Fault("bisected", "sparsemax", sparsemax_bisected, CATEGORY,
          "any row whose threshold is no multiple of 2⁻¹⁷", "bisection ends early", on([0.5, 0.3, 0.1]), WIDE),
    Fault("skips-nan", "sparsemax", sparsemax_skips_nan, CATEGORY,
          "a NaN among the logits", "NaN left out", on([0.0, np.nan, 0.5])),
    Fault("narrow-sum", "sparsemax", sparsemax_narrow_sum, CATEGORY,
          "many classes above the threshold", "narrow accumulator", on([*rising(1024, 0.0, -7e-4)]), NARROW),
    Fault("kept-of-64", "entmax15", entmax15_kept_of_64, CATEGORY,
          "more than 64 classes above the threshold", "threshold of a part", on(_LONG)),
    Fault("bisected", "entmax15", entmax15_bisected, CATEGORY,
          "any row whose threshold is no multiple of 2⁻¹⁷", "bisection ends early", on([0.5, 0.3, 0.1]), WIDE),
    Fault("skips-nan", "entmax15", entmax15_skips_nan, CATEGORY,
          "a NaN among the logits", "NaN left out", on([0.0, np.nan, 0.5])),
    Fault("small-dropped", "entmax15", entmax15_small_dropped, CATEGORY,
          "small values in rows of more than 64", "small values returned as 0",
          on([1.95] + [0.0] * 99), ("float64", "float32", "float16")),
)  # fmt: skip
