"""Sparsemax and entmax with alpha = 1.5: rows shifted by their maximum (and halved), what lies above a threshold, its powers.

Arrays of any shape along ``axis``, same dtype out; formats below float32 are computed in float32 and rounded once.
"""

from __future__ import annotations

import numpy as np

from xent_verify.implementations.rows import Array, row_map

__all__ = [
    "entmax15_centred",
    "entmax15_naive",
    "entmax15_newton",
    "entmax15_sorted",
    "entmax15_wide",
    "halved",
    "shifted",
    "sparsemax_active_set",
    "sparsemax_naive",
    "sparsemax_sorted",
    "sparsemax_wide",
    "threshold_1",
    "threshold_2",
]

_STEPS = 40


def shifted(rows: Array) -> Array:
    """x - max x."""
    return np.asarray(rows - rows.max(axis=-1, keepdims=True))


def halved(rows: Array) -> Array:
    """(x - max x) / 2."""
    return shifted(rows) / 2


def _falling(z: Array) -> tuple[Array, Array]:
    """Each row from its largest element on, and 1 … n."""
    return np.sort(z, axis=-1)[:, ::-1], np.arange(1, z.shape[-1] + 1, dtype=z.dtype)


def _last(values: Array, kept: Array) -> Array:
    """The value of the last kept place of each row."""
    return np.take_along_axis(values, np.maximum(kept.sum(axis=-1, keepdims=True) - 1, 0), axis=-1)


def threshold_1(z: Array) -> Array:
    """t with Σ max(z - t, 0) = 1, from running sums of the sorted row."""
    s, k = _falling(z)
    total = np.cumsum(s, axis=-1)
    return _last((total - 1) / k, 1 + k * s > total)


def threshold_2(z: Array) -> Array:
    """t with Σ max(z - t, 0)² = 1, from running means of the sorted row and of its squares."""
    s, k = _falling(z)
    mean, squares = np.cumsum(s, axis=-1) / k, np.cumsum(s * s, axis=-1) / k
    rest = np.maximum((1 - k * (squares - mean * mean)) / k, 0)
    tau = mean - np.sqrt(rest)
    return _last(tau, tau <= s)


@row_map
def sparsemax_sorted(rows: Array) -> Array:
    """By sorting."""
    z = shifted(rows)
    return np.asarray(np.maximum(z - threshold_1(z), 0))


@row_map
def sparsemax_active_set(rows: Array) -> Array:
    """From what lies less than 1 below the maximum what its threshold is above is dropped, until nothing is (Michelot, 1986)."""
    z = shifted(rows)
    kept = z > -1
    while True:
        tau = (np.where(kept, z, 0).sum(axis=-1, keepdims=True) - 1) / kept.sum(axis=-1, keepdims=True).astype(z.dtype)
        fewer = kept & (z > tau)
        if np.array_equal(fewer, kept):
            return np.asarray(np.where(kept | np.isnan(z), np.maximum(z - tau, 0), 0 * tau))
        kept = fewer


@row_map
def sparsemax_wide(rows: Array) -> Array:
    """By sorting, in float64, rounded at the end."""
    z = shifted(rows.astype(np.float64))
    return np.asarray(np.maximum(z - threshold_1(z), 0))


@row_map
def sparsemax_naive(rows: Array) -> Array:
    """By sorting, without a shift."""
    return np.asarray(np.maximum(rows - threshold_1(rows), 0))


@row_map
def entmax15_sorted(rows: Array) -> Array:
    """By sorting, as the package entmax: k (mean of squares - square of the mean) cancels."""
    z = halved(rows)
    return np.asarray(np.maximum(z - threshold_2(z), 0) ** 2)


@row_map
def entmax15_centred(rows: Array) -> Array:
    """What Newton's method keeps; the threshold from its mean and squares about it."""
    z = halved(rows)
    kept = z > _newton(z)
    count = kept.sum(axis=-1, keepdims=True).astype(z.dtype)
    mean = np.where(kept, z, 0).sum(axis=-1, keepdims=True) / count
    square = np.where(kept, (z - mean) ** 2, 0).sum(axis=-1, keepdims=True)
    return np.asarray(np.maximum(z - (mean - np.sqrt((1 - square) / count)), 0) ** 2)


@row_map
def entmax15_newton(rows: Array) -> Array:
    """Newton's method for the threshold."""
    z = halved(rows)
    return np.asarray(np.maximum(z - _newton(z), 0) ** 2)


def _newton(z: Array) -> Array:
    """From -1 on, which is below it."""
    tau = np.full((len(z), 1), -1, z.dtype)
    for _ in range(_STEPS):
        root = np.maximum(z - tau, 0)
        tau = tau + ((root * root).sum(axis=-1, keepdims=True) - 1) / (2 * root.sum(axis=-1, keepdims=True))
    return tau


@row_map
def entmax15_wide(rows: Array) -> Array:
    """By sorting, in float64, rounded at the end."""
    z = halved(rows.astype(np.float64))
    return np.asarray(np.maximum(z - threshold_2(z), 0) ** 2)


@row_map
def entmax15_naive(rows: Array) -> Array:
    """By sorting, without a shift."""
    z = rows / 2
    return np.asarray(np.maximum(z - threshold_2(z), 0) ** 2)
