"""Parts of an enclosure on their way out: normalised words, and the test for undecided elements.

A ``Piece`` is an ``Enclosure`` whose ``lo`` and ``radius`` may be one number for all elements; most fast results need
no more, and arrays that are never allocated cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.enclosure import DECISION, Enclosure
from xent_verify.core.formats import FloatArray, FloatFormat, IntArray
from xent_verify.core.shapes import clipped, full
from xent_verify.truth.doubledouble import fast_two_sum, power_of_two, two_product

__all__ = [
    "VANISHED",
    "Piece",
    "bounded",
    "in_binades",
    "normalised",
    "suspects",
    "undecided",
    "vanish",
]

VANISHED = -28_853
"""Exponent of an enclosure (0, 2 * 2**VANISHED): tier 2's arguments end at -20000, and e**-20000 < 2**-28853."""

_FRACTION = (1 << 52) - 1
_ONE = 1023 << 52
_TINY = 2.0**-900


@dataclass(frozen=True, slots=True)
class Piece:
    """Certified values of some elements: the fields of ``Enclosure``, scalars allowed for all but hi and exponent.

    ``void`` marks elements known only to lie in (0, 2 hi 2**exponent): hi = +-1, lo = 0, and radius 1 whatever
    ``radius`` says; none of their exponents exceeds ``void_exponent``.
    """

    hi: FloatArray
    exponent: IntArray
    lo: FloatArray | float
    radius: FloatArray | float
    tier: int
    void: NDArray[np.bool_] | None = None
    void_exponent: int = 0

    def _each(self, change: Callable[[Any], Any]) -> Piece:
        lo, radius = (value if np.ndim(value) == 0 else change(value) for value in (self.lo, self.radius))
        void = None if self.void is None else change(self.void)
        return Piece(change(self.hi), change(self.exponent), lo, radius, self.tier, void, self.void_exponent)

    def __getitem__(self, key: Any) -> Piece:
        return self._each(lambda value: value[key])

    @property
    def transposed(self) -> Piece:
        """Rows for columns."""
        return self._each(np.transpose)

    @property
    def negated(self) -> Piece:
        return replace(self, hi=-self.hi, lo=-self.lo)

    @property
    def full_radius(self) -> FloatArray | float:
        """The radius with ``void`` written into it."""
        return self.radius if self.void is None else np.where(self.void, 1.0, self.radius)

    def patched(self, where: Any, other: Piece) -> Piece:
        """This piece with ``other`` at ``[where]`` (in place where the fields are arrays already)."""
        self.hi[where] = other.hi
        self.exponent[where] = other.exponent
        lo = self._mixed(self.lo, where, other.lo)
        radius = self._mixed(self.full_radius, where, other.full_radius)
        return Piece(self.hi, self.exponent, lo, radius, self.tier)

    def _mixed(self, field: FloatArray | float, where: Any, new: FloatArray | float) -> FloatArray | float:
        if np.ndim(field) == 0 and np.ndim(new) == 0 and field == new:
            return field
        array = field if isinstance(field, np.ndarray) and field.flags.writeable else np.full(self.hi.shape, field)
        array[where] = new
        return array

    def times(self, factor: FloatArray, low: FloatArray | None = None) -> Piece:
        """The piece times factors (2**-900 to 2**900 or 0), exact but for a low word of theirs, known to 2**-91.

        One rounding of the low word, 2**-100; none if the piece is exact with lo = 0.
        """
        mantissa, power = np.frexp(factor)
        high, rest = two_product(self.hi, mantissa)
        rest = rest + self.lo * mantissa
        if low is not None:
            rest += self.hi * np.ldexp(low, -power)
        high, rest = fast_two_sum(high, rest)
        product = normalised(high, rest, self.exponent + power, 0.0, self.tier)
        radius, lo = full(self.full_radius, high.shape), full(self.lo, high.shape)
        shift = clipped(self.exponent + power - product.exponent, -1, 1)
        inexact = 2.0**-100 if low is None else 2.0**-89
        spread = np.ldexp(radius * np.abs(mantissa) * 1.0001, shift)
        spread += np.where((radius > 0) | (lo != 0), inexact, 0.0)
        return replace(product, radius=np.where(high == 0, 0.0, spread))

    def enclosure(self) -> Enclosure:
        shape = self.hi.shape
        lo, radius, tier = (full(value, shape) for value in (self.lo, self.full_radius, np.uint8(self.tier)))
        return Enclosure(self.hi, lo, self.exponent, radius, tier)


def normalised(
    high: FloatArray,
    low: FloatArray | None,
    exponent: IntArray | int,
    radius: FloatArray | float,
    tier: int,
    *,
    drop: bool = True,
) -> Piece:
    """(high + low) * 2**exponent with |hi| in [1, 2), by bits.

    ``high`` must be 0 or normal, ``low`` at most half an ulp of it; ``radius`` is relative to the binade (it bounds the
    relative error times 2). Zeros become exact zeros: the caller answers for them. Low words under 2**-900 are dropped
    into a radius that is far larger, unless ``drop=False`` says that there are none.
    """
    bits = high.view(np.int64)
    power = bits >> 52
    power &= 0x7FF
    smallest = int(power.min()) if power.size else 1
    power -= 1023
    significand = bits & ~(0x7FF << 52)
    significand |= _ONE
    hi: FloatArray = significand.view(np.float64)
    lo: FloatArray | float = 0.0
    if low is not None:
        lo = low * power_of_two(-power)
        if drop:
            np.copyto(lo, 0.0, where=np.abs(lo) < _TINY)
    if smallest == 0:
        zero = high == 0
        power += exponent
        np.copyto(hi, 0.0, where=zero)
        np.copyto(power, 0, where=zero)
        lo = lo if low is None else np.where(zero, 0.0, lo)
        return Piece(hi, power, lo, np.where(zero, 0.0, radius), tier)
    if np.ndim(exponent) or exponent:
        power += exponent
    return Piece(hi, power, lo, radius, tier)


def in_binades(error: FloatArray, exponent: IntArray | int, piece: Piece) -> FloatArray:
    """Absolute errors times 2**exponent in units of the piece's binades; 0 for exact zeros."""
    shift = clipped(exponent - piece.exponent, -2000, 1000).astype(np.int32)
    return np.where(piece.hi == 0, 0.0, np.ldexp(error, shift))


def bounded(high: FloatArray, low: FloatArray, exponent: IntArray | int, error: FloatArray, tier: int) -> Piece:
    """(high + low) * 2**exponent with absolute errors times 2**exponent.

    Where the error is all there is, |t| < |high| + error: (-1, 3) in units of the next power of two answers.
    """
    lost = (np.abs(high) <= error) & (error > 0)
    piece = normalised(np.where(lost, 1.0, high), low, exponent, 0.0, tier)
    radius = in_binades(error, exponent, piece)
    beyond = np.frexp(np.abs(high) + error)[1] + exponent
    return Piece(
        piece.hi,
        np.where(lost, beyond, piece.exponent),
        np.where(lost, 0.0, piece.lo),
        np.where(lost, 2.0, radius),
        tier,
    )


def vanish(piece: Piece, where: NDArray[np.bool_], exponent: int, *, sign: FloatArray | float = 1.0) -> Piece:
    """The piece with (0, 2 * sign * 2**exponent) as its enclosure of the marked elements (fields changed in place)."""
    if not where.any():
        return piece
    np.copyto(piece.hi, sign, where=where)
    np.copyto(piece.exponent, exponent, where=where)
    if isinstance(piece.lo, np.ndarray):
        np.copyto(piece.lo, 0.0, where=where)
    if piece.void is None:
        return replace(piece, void=where, void_exponent=exponent)
    return replace(piece, void=piece.void | where, void_exponent=max(exponent, piece.void_exponent))


def undecided(piece: Piece, fmt: FloatFormat) -> NDArray[np.bool_]:
    """True where the piece does not decide rounding and error (as ``~Enclosure.decided``, cheaper)."""
    mask = suspects(piece, fmt)
    if mask.any():
        mask[mask] = ~piece[mask].enclosure().decided(fmt)
    return mask


def suspects(piece: Piece, fmt: FloatFormat) -> NDArray[np.bool_]:
    """True where the piece may not decide rounding and error; everything else is decided for certain.

    These are integer tests on the significands. In units of 2**-52
    the value is an integer f (fraction bits) + lo, |lo| <= 1/2. If s > 0 bits lie below the ulp of ``fmt``, midpoints
    are the odd multiples of 2**(s-1), and a value is clear of them if f mod 2**s is further than radius + 1 from
    2**(s-1); s = 53 - p + max(0, e_min - e). (A value below a binade's start, by lo or by radius, is far from any
    midpoint on either side; below a quarter of the smallest subnormal all round alike.) For s = 0 only lo can reach
    a midpoint, at 2**-53, or 2**-54 just below hi = 1.
    """
    if not piece.hi.size:
        return np.zeros(piece.hi.shape, bool)
    exponent, bits = piece.exponent, piece.hi.view(np.int64)
    suspect = _low_words(piece, bits) if fmt.precision == 53 else _beside(piece, bits, 53 - fmt.precision)
    if int(exponent.min()) < fmt.e_min:
        lowest = fmt.e_min - fmt.precision - 2
        near = np.nonzero((exponent - lowest).view(np.uint64) < fmt.precision + 2)
        if near[0].size:
            suspect[near] = _beside_lifted(piece[near], fmt)
    if int(exponent.max()) >= fmt.e_max:
        suspect |= exponent >= fmt.e_max
    return np.asarray(suspect | _too_wide(piece, fmt))


def _beside(piece: Piece, bits: IntArray, shift: int) -> NDArray[np.bool_]:
    """Where f mod 2**shift is within the radius, and 1 more for lo, of 2**(shift-1); 0 < shift <= 52."""
    radius = np.ceil(np.minimum(piece.radius, 2.0**7) * 2.0**52).astype(np.int64) + 1
    middle = 1 << (shift - 1)
    distance = bits + (radius + middle)
    distance &= 2 * middle - 1
    return np.asarray(distance <= 2 * radius)


def _beside_lifted(piece: Piece, fmt: FloatFormat) -> NDArray[np.bool_]:
    """The same below the normal range, where the ulp lies higher (shifts beyond 52 reach the hidden bit), with lo."""
    shift = (fmt.e_min - piece.exponent) + (53 - fmt.precision)
    middle = np.left_shift(1, shift - 1)
    distance = ((piece.hi.view(np.int64) & _FRACTION) | (1 << 52)) & (2 * middle - 1)
    offset = (distance - middle) + np.copysign(1.0, piece.hi) * piece.lo * 2.0**52
    return np.asarray(np.abs(offset) <= np.asarray(piece.radius) * (2.0**52 * 1.0001))


def _low_words(piece: Piece, bits: IntArray) -> NDArray[np.bool_]:
    """Where the low word is within the radius of half an ulp of hi, or of a quarter beside a power of two."""
    distance = np.abs(full(piece.lo, bits.shape))
    power = (bits & _FRACTION) == 0
    if power.any():
        power &= np.abs(distance - 2.0**-54) <= piece.radius
    distance -= 2.0**-53
    np.abs(distance, out=distance)
    return np.asarray(power | (distance <= piece.radius))


def _too_wide(piece: Piece, fmt: FloatFormat) -> NDArray[np.bool_] | bool:
    """Where the radius may exceed 2**-20 ulp (of the binade below: a low word may put the value there)."""
    limit = fmt.e_min - fmt.precision - 20
    wide: NDArray[np.bool_] | bool = False
    if piece.void is not None and piece.void_exponent > limit:
        wide = piece.void
    widest = DECISION * 2.0**-fmt.precision
    if np.max(piece.radius) > widest:
        wide = wide | (piece.radius > widest)
    return wide
