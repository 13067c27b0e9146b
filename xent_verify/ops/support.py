"""Which elements of a row sparsemax and entmax keep: the x_j with sum_i max(x_i - x_j, 0)**power < 1.

That is where the threshold t of sum_i max(x_i - t, 0)**power = 1 lies below x_j (Martins & Astudillo, ICML 2016; Peters,
Niculae & Martins, ACL 2019).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["inside", "margin", "reach"]

Array = NDArray[Any]
_BEYOND = 2.0
"""An element that lies further below the largest is outside."""


def reach(x: Array, power: int) -> Array:
    """sum_i max(x_i - x_j, 0)**power (power 1 or 2) of each element of rows [R, n], nearly; at least 1 where it is large."""
    with np.errstate(invalid="ignore"):
        gaps = np.maximum(x - x.max(axis=-1, keepdims=True, initial=-np.inf), -_BEYOND).astype(np.float64)
    order = np.argsort(-gaps, axis=-1, kind="stable")
    s, k = np.take_along_axis(gaps, order, -1), np.arange(1, x.shape[-1] + 1)
    total = np.cumsum(s, axis=-1)
    sorted_reach = total - k * s if power == 1 else np.cumsum(s * s, axis=-1) - 2 * s * total + k * s * s
    found = np.empty_like(gaps)
    np.put_along_axis(found, order, sorted_reach, -1)
    return np.asarray(found)


def margin(n: int) -> float:
    """How far ``reach`` may be off in rows of n: sums of n numbers between 0 and 4, times n at most."""
    return n * n * 2.0**-48


def inside(row: Sequence[Fraction], power: int) -> list[bool]:
    """Which elements of an exact row are kept."""
    kept, count, first, second = set(), 0, Fraction(0), Fraction(0)
    top = max(row)
    for value, times in sorted(Counter(x - top for x in row if x - top > -_BEYOND).items(), reverse=True):
        count, first, second = count + times, first + times * value, second + times * value * value
        if (first - count * value if power == 1 else second - 2 * value * first + count * value * value) >= 1:
            break
        kept.add(value)
    return [x - top in kept for x in row]
