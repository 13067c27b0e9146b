"""Results as the kernels leave them: not normalised, a common relative bound. Tests on them, and their normal form.

Most values of a batch are asked for once, or not at all, so that hi, lo, exponent and radius of single elements are
worked out only when somebody looks (``Enclosure.later``). What has to be known at once is whether a value is decided;
``Loose.suspects`` answers with few operations on the doubles themselves. It may suspect too many elements, never too
few; ``pieces.undecided`` then looks at those closely.

Targets of fewer than 53 bits, values that are one double v, |t - v| < radius 2**e with 2**e <= |v| < 2**(e+1): in units
of 2**(e-52) v is an integer, of which s = 53 - p bits lie below the target's ulp, so midpoints are the odd multiples
of 2**(s-1): v is clear of them if it is further than the radius (rounded up, and 1 more) from 2**(s-1) modulo 2**s.
(Values below a binade's start are far from any midpoint on either side.)

Float64 targets, values h + l with |l| at most half an ulp of h, h normal: t lies between h + l - E and h + l + E,
E = |h| radius >= radius 2**e. If fl(h + fl(l - 2 E)) = h = fl(h + fl(l + 2 E)), then, rounding being monotonic, t rounds
to h too; fl(l +- 2 E) errs by 2**-106 |h|, far less than E.

Where the ulp is fixed (results below the normal range), the value in such units, c = f + r with an integer r, is clear
of midpoints if ||c - r| - 1/2| exceeds the radius; c - r is exact, and r beyond 2**52 is nobody's concern.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.formats import FloatArray, FloatFormat, IntArray
from xent_verify.core.shapes import clipped, full
from xent_verify.truth.pieces import Piece, normalised, undecided, vanish

__all__ = ["FAR", "Loose"]

FAR = -(1 << 30)
"""Exponent that marks values which are only known to lie in (0, 2 * 2**floor)."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Loose:
    """Values (high + low) 2**exponent of one engine; ``radius`` in units of their binades.

    ``high`` is 0 (exactly) or normal. Without low words and exponents (tier 1), values of a size below 2**floor are
    only known to lie in (0, 2 * 2**floor), signed alike; with an array of exponents, those marked ``FAR`` are, and
    ``high`` has their sign. ``suspected``: what ``suspects`` answers for float64, where a kernel has looked already.
    """

    high: FloatArray
    low: FloatArray | None
    exponent: IntArray | int
    radius: float
    tier: int
    floor: int
    suspected: Mask | None = None

    def _changed(self, high: Any, low: Any, exponent: Any) -> Loose:
        return Loose(high, low, exponent, self.radius, self.tier, self.floor)

    def __getitem__(self, key: Any) -> Loose:
        low = None if self.low is None else self.low[key]
        return self._changed(self.high[key], low, self.exponent if np.ndim(self.exponent) == 0 else self.exponent[key])  # type: ignore[index]

    @property
    def transposed(self) -> Loose:
        """Rows for columns."""
        low = None if self.low is None else self.low.T
        return self._changed(self.high.T, low, np.transpose(self.exponent) if np.ndim(self.exponent) else self.exponent)

    def piece(self) -> Piece:
        """The normal form."""
        exponent = self.exponent
        if isinstance(exponent, np.ndarray):
            far: Mask | None = exponent == FAR
            exponent = exponent.astype(np.int64)
        else:
            far = (np.abs(self.high) < 2.0**self.floor) & (self.high != 0) if self.low is None else None
        piece = normalised(self.high, self.low, exponent, self.radius, self.tier)
        if far is None or not far.any():
            return piece
        return vanish(piece, far, self.floor, sign=np.copysign(1.0, self.high))

    def suspects(self, fmt: FloatFormat) -> Mask:
        """Where the value may be undecided (see the module docstring)."""
        if self.suspected is not None and fmt.precision == 53:
            return self.suspected
        if not self.high.size:
            return np.zeros(self.high.shape, bool)
        if self.low is None and fmt.precision < 53:
            return _of_doubles(self.high, self.radius, fmt)
        if self.low is not None and fmt.precision == 53:
            return self._of_pairs(self.low, fmt)
        return undecided(self.piece(), fmt)

    def _of_pairs(self, low: FloatArray, fmt: FloatFormat) -> Mask:
        reach = np.abs(self.high)
        smallest, largest = float(reach.min()), float(reach.max())
        if not smallest:
            smallest = float(reach.min(where=reach > 0, initial=np.inf))
        reach *= 2 * self.radius
        end = low + reach
        end += self.high
        mask: Mask = end != self.high
        np.subtract(low, reach, out=end)
        end += self.high
        mask |= end != self.high
        exponent = np.asarray(self.exponent)
        binades = int(np.frexp(smallest)[1]) - 1, int(np.frexp(largest)[1])
        if int(exponent.min()) + binades[0] < fmt.e_min:
            self._below_normal(mask, low, exponent, binades, fmt)
        if int(exponent.max()) + binades[1] > fmt.e_max:
            mask |= np.abs(self.high) >= np.ldexp(1.0, clipped(fmt.e_max - exponent, -1000, 1023).astype(np.int32))
        return mask

    def _below_normal(
        self, mask: Mask, low: FloatArray, exponent: IntArray, binades: tuple[int, int], fmt: FloatFormat
    ) -> None:
        """Judge anew the elements whose ulp is the smallest subnormal, unless they are far below a quarter of it."""
        quantum = fmt.e_min - fmt.precision + 1
        near = exponent < fmt.e_min - binades[0]
        near &= exponent >= quantum - 1 - binades[1]
        where = np.flatnonzero(full(near, mask.shape))
        if not where.size:
            return
        some: list[Any] = [full(part, mask.shape).reshape(-1) for part in (self.high, low, exponent)]
        high, high_low, power = (part.take(where) for part in some)
        flat = mask.reshape(-1)
        with np.errstate(all="ignore"):  # what overflows is far above
            scale = np.ldexp(1.0, (power - quantum).astype(np.int32))
            head, tail = np.abs(high) * scale, high_low * np.copysign(scale, high)
            fixed = _beside_fixed(head, tail, head * self.radius)
            flat[where] = np.where(head < 2.0 ** (fmt.precision - 1), fixed, flat[where])


def _beside_fixed(head: FloatArray, tail: FloatArray | float, radius: FloatArray) -> Mask:
    """Whether a midpoint of integers may lie within the radius of head + tail."""
    offset = np.abs((head - np.rint(head)) + tail)
    return np.asarray(np.abs(offset - 0.5) <= radius * 1.0001 + 2.0**-60)


def _of_doubles(value: FloatArray, radius: float, fmt: FloatFormat) -> Mask:
    """By the bits of the doubles. Where the range ends is a midpoint too; beyond, all is decided, unless d overflowed."""
    reach = int(np.ceil(radius * 2.0**52)) + 1
    middle = 1 << (52 - fmt.precision)
    bits = value.view(np.int64) + (reach + middle)
    bits &= 2 * middle - 1
    mask: Mask = bits <= 2 * reach
    size = value if float(value.min()) >= 0 else np.abs(value)
    if float(size.min()) < 2.0**fmt.e_min:
        quantum = fmt.e_min - fmt.precision + 1
        below = size < 2.0**fmt.e_min
        mask &= ~below
        below &= size > 2.0 ** (quantum - 2)
        near = np.nonzero(below)
        if near[0].size:
            head = size[near] * 2.0**-quantum
            mask[near] = _beside_fixed(head, 0.0, head * radius)
    if float(size.max()) == np.inf:
        mask |= size == np.inf
    return mask
