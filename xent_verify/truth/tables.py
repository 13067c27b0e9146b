"""Constants of the double-double kernels, computed once from integers: nothing to mistype, nothing taken on trust.

``ROOT`` holds 2**(j/256), j = 0..255, as unevaluated sums of two doubles. Each entry is eight nested integer square
roots of 2**j at ``_BITS`` fractional bits: isqrt is exact, so every root is at most one unit too small, and a square
root halves the relative error it inherits; the entry is off by less than 2 units of 2**-_BITS, far below the
2**-106 that the rounding to two doubles leaves.

``LN2_256`` holds ln(2)/256 as c1 + c2 + c3: c1 and c2 of 30 bits, so that k * c1 and k * c2 are exact for
|k| < 2**23, and c3 of 53 bits. ln 2 = 2 artanh(1/3) = sum 2 / ((2i + 1) 3**(2i + 1)), summed in integers with an error
of less than one unit per term.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from xent_verify.core.formats import FloatArray

__all__ = ["TABLE_SIZE", "Tables", "tables"]

TABLE_SIZE = 256
_BITS = 320
_REDUCTION_BITS = 30


@dataclass(frozen=True, slots=True)
class Tables:
    """The constants, as described in the module docstring; ``root_top + root_bottom`` = ``root`` split in halves."""

    root: FloatArray
    root_low: FloatArray
    root_top: FloatArray
    root_bottom: FloatArray
    c1: float
    c2: float
    c3: float
    inverse: float  # 256 / ln 2, rounded: it only chooses k


def _ln2() -> int:
    """floor-ish ln 2 * 2**_BITS, off by less than 256 units."""
    total, i = 0, 0
    power = (1 << _BITS) // 3
    while power:
        total += 2 * power // (2 * i + 1)
        power //= 9
        i += 1
    return total


def _root(j: int) -> int:
    """2**(j/256) * 2**_BITS, off by less than 2 units."""
    value = 1 << (_BITS + j)
    for _ in range(TABLE_SIZE.bit_length() - 1):
        value = math.isqrt(value << _BITS)
    return value


def _double(value: int) -> tuple[float, int]:
    """The double nearest to value * 2**-_BITS (int to float rounds correctly), and what is left over."""
    nearest = float(value)
    return math.ldexp(nearest, -_BITS), value - int(nearest)


def _leading(value: int, bits: int) -> tuple[float, int]:
    """The leading ``bits`` bits of value * 2**-_BITS, rounded, and what is left over."""
    shift = value.bit_length() - bits
    top = ((value >> (shift - 1)) + 1) >> 1
    return math.ldexp(float(top), shift - _BITS), value - (top << shift)


@cache
def tables() -> Tables:
    """The constants (about 5 ms, once)."""
    pairs = []
    for j in range(TABLE_SIZE):
        high, rest = _double(_root(j))
        pairs.append((high, _double(rest)[0]))
    root, low = (np.array(column) for column in zip(*pairs, strict=True))
    scaled = root * 134217729.0
    top = scaled - (scaled - root)
    step = _ln2() // TABLE_SIZE
    c1, rest = _leading(step, _REDUCTION_BITS)
    c2, rest = _leading(rest, _REDUCTION_BITS) if rest > 0 else _negated(_leading(-rest, _REDUCTION_BITS))
    return Tables(root, low, top, root - top, c1, c2, _double(rest)[0], math.ldexp(1.0, _BITS) / float(step))


def _negated(pair: tuple[float, int]) -> tuple[float, int]:
    return -pair[0], -pair[1]
